"""What lies around one scene or symbol of an archive: a bounded part of `scenepipe.graph`, read and never written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from scenepipe.contracts import Archive, Encounter, Neighbour, Query
from scenepipe.graph import Edge, Graph, Node, echoes, held, key_of, orders, symbol_id, turns
from scenepipe.recall import symbol_keys
from scenepipe.scene import Scene

MOST_NODES = 100
EDGES_PER_NODE = 3
_LOOKED_AT = 200
"""Scenes whose linkages are read for the order of symbols."""
_ASKED = 6
"""Symbols of a scene, its strongest, for which the archive is asked what stands beside them."""
_BESIDE = 5
_LONGEST = 300
"""Characters of a scene's text that name it."""


@dataclass
class _Near:
    """What was found, with how near it is to the centre: the greater, the nearer."""

    centre: Node
    namespace: str
    log: Sequence[Encounter]
    scenes: dict[str, Scene] = field(default_factory=dict)
    nearness: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def add_scene(self, scene: Scene, nearness: float) -> None:
        self.scenes[scene.id] = scene
        self._add(_scene_node(scene), nearness)

    def add_symbol(self, key: str, nearness: float) -> None:
        self._add(_symbol_node(key), nearness)

    def _add(self, node: Node, nearness: float) -> None:
        if node.id != self.centre.id:
            self.nodes[node.id] = node
            self.nearness[node.id] = max(nearness, self.nearness.get(node.id, 0.0))


async def around_scene(archive: Archive, scene: Scene, *, most: int = 25) -> Graph:
    """The scene's symbols and what stands beside them, the scenes linked to it, and those that share its symbols.

    Args:
        most: nodes, the centre among them; scenes and symbols get half the room each, and what the other leaves.

    Raises:
        ArchiveError: the archive cannot be read.
    """
    near = _Near(_scene_node(scene), scene.origin.namespace, await archive.encounters(), {scene.id: scene})
    await _add_linked(near, archive)
    keys = symbol_keys(scene)
    for hit in await _holders(archive, keys, near.namespace, exclude=(scene.id,)):
        near.add_scene(hit, len(set(keys) & set(symbol_keys(hit))) / len(keys))
    own = sorted(held(scene), key=lambda edge: (-edge.weight, edge.target))
    for edge in own:
        near.add_symbol(key_of(edge.target), 1.0 + edge.weight)
    for edge in own[:_ASKED]:
        await _add_beside(near, archive, key_of(edge.target), _BESIDE)
    return _graph(near, most)


async def around_symbol(archive: Archive, key: str, *, namespace: str = "default", most: int = 25) -> Graph:
    """What stands beside the symbol, what comes before and after it, and the scenes that hold it.

    Args:
        key: with its polarity, ``не:страх``.
        most: as for `around_scene`.

    Raises:
        ArchiveError: the archive cannot be read.
    """
    holders = await _holders(archive, (key,), namespace)
    near = _Near(_symbol_node(key), namespace, await archive.encounters() if holders else ())
    for scene in holders:
        strength = next(edge.weight for edge in held(scene) if edge.target == near.centre.id)
        near.add_scene(scene, strength)
    await _add_beside(near, archive, key, most)
    for edge in orders(holders):
        for mine, other in ((edge.source, edge.target), (edge.target, edge.source)):
            if mine == near.centre.id:
                near.add_symbol(key_of(other), edge.weight)
    return _graph(near, most)


async def _holders(
    archive: Archive, keys: tuple[str, ...], namespace: str, *, exclude: tuple[str, ...] = ()
) -> list[Scene]:
    """Scenes that share one of these symbols, those that share most first."""
    if not keys:
        return []
    hits = await archive.find(Query(namespace=namespace, symbols=keys, exclude=exclude, limit=_LOOKED_AT))
    return [hit.scene for hit in hits if set(keys) & set(symbol_keys(hit.scene))]


async def _add_linked(near: _Near, archive: Archive) -> None:
    """The scenes at the other ends of the centre's links; one of another namespace, or forgotten since, is left out."""
    nearness: dict[str, float] = {}
    for edge in _links(near.log, {near.centre.id}):
        if near.centre.id in (edge.source, edge.target):
            other = edge.target if edge.source == near.centre.id else edge.source
            nearness[other] = max(1.0 + edge.weight, nearness.get(other, 0.0))
    for scene in await archive.get(sorted(nearness)):
        if scene.origin.namespace == near.namespace:
            near.add_scene(scene, nearness[scene.id])


async def _add_beside(near: _Near, archive: Archive, key: str, most: int) -> None:
    for neighbour in await archive.neighbours([key], namespace=near.namespace, limit=most):
        near.add_symbol(neighbour.key, neighbour.score)
        near.edges.append(_beside(key, neighbour))


def _beside(key: str, neighbour: Neighbour) -> Edge:
    """The relation is its own inverse, so the smaller key is its source."""
    source, target = sorted((symbol_id(key), symbol_id(neighbour.key)))
    weight = min(max(neighbour.score, 0.0), 1.0)
    return Edge(source=source, target=target, relation="beside", weight=weight, count=max(neighbour.together, 1))


def _links(log: Sequence[Encounter], scenes: Collection[str]) -> list[Edge]:
    return [*echoes(log), *turns(log, scenes)]


def _graph(near: _Near, most: int) -> Graph:
    kept = _kept(near, min(max(most, 1), MOST_NODES) - 1)
    names = {near.centre.id, *(node.id for node in kept)}
    shown = sorted(names & near.scenes.keys())
    every = [*near.edges, *_links(near.log, shown), *orders(near.scenes.values())]
    every += [edge for name in shown for edge in held(near.scenes[name])]
    inside = {(edge.source, edge.target, edge.relation): edge for edge in every if {edge.source, edge.target} <= names}
    ranked = sorted(inside.values(), key=lambda edge: _edge_rank(edge, near.centre.id))
    return Graph(
        namespace=near.namespace,
        nodes=(near.centre, *kept),
        edges=tuple(ranked[: EDGES_PER_NODE * len(names)]),
        left_out=len(near.nodes) - len(kept),
    )


def _kept(near: _Near, room: int) -> list[Node]:
    """The nearest, scenes and symbols by turns of half the room."""
    scenes, symbols = (_ranked(near.nodes, near.nearness, kind) for kind in ("scene", "symbol"))
    some = min(len(scenes), max((room + 1) // 2, room - len(symbols)))
    return [*symbols[: room - some], *scenes[:some]]


def _ranked(nodes: Mapping[str, Node], nearness: Mapping[str, float], kind: str) -> list[Node]:
    return sorted((n for n in nodes.values() if n.kind == kind), key=lambda n: (-nearness[n.id], n.label, n.id))


def _edge_rank(edge: Edge, centre: str) -> tuple[bool, float, int, str, str, str]:
    """What touches the centre first, then the strongest."""
    far = centre not in (edge.source, edge.target)
    return far, -edge.weight, -edge.count, edge.source, edge.target, edge.relation


def _scene_node(scene: Scene) -> Node:
    return Node(id=scene.id, kind="scene", label=" ".join(scene.text[:_LONGEST].split()))


def _symbol_node(key: str) -> Node:
    return Node(id=symbol_id(key), kind="symbol", label=key)
