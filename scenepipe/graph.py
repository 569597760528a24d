"""The graph of an archive: which symbols scenes hold, what stands together, what follows what, which scene recalled which.

Nothing here is stored. Symbols and their order come from the stored scenes, what stands together from
`Archive.neighbours`, a chat's order from its encounters (`scenepipe.chats`), and echoes from encounters of kind ``linked``.
Each relation is kept in one direction; its inverse (`INVERSE`) is read, so the two can never disagree.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from scenepipe.chats import Chat
from scenepipe.contracts import Encounter, Value
from scenepipe.recall import symbol_keys
from scenepipe.scene import SCENE_NAMESPACE, Scene, Unit

Relation = Literal["holds", "held by", "beside", "then", "after", "echo", "echoed by", "next", "before"]
NodeKind = Literal["scene", "symbol"]

INVERSE: Mapping[Relation, Relation] = {
    "holds": "held by",
    "held by": "holds",
    "beside": "beside",
    "then": "after",
    "after": "then",
    "echo": "echoed by",
    "echoed by": "echo",
    "next": "before",
    "before": "next",
}
"""Each relation with the same fact read from its other end; applied twice it gives the relation again.

A scene ``holds`` a symbol; symbols stand ``beside`` each other in scenes; in linkages one symbol comes ``then``, after
another; a scene recalled another, which it ``echo``es; in a chat one scene comes ``next``.
"""


class Node(Value):
    """A scene (``id`` is the scene's) or a symbol (``id`` is its key after ``symbol:``) with the words that name it."""

    id: str
    kind: NodeKind
    label: str


class Edge(Value):
    """One named relation. ``weight`` is its strength in 0..1, ``count`` the scenes, or occasions, it rests on."""

    source: str
    target: str
    relation: Relation
    weight: Unit
    count: Annotated[int, Field(ge=1)] = 1

    @property
    def inverse(self) -> Edge:
        """The same fact, read from the target."""
        return self.model_copy(
            update={"source": self.target, "target": self.source, "relation": INVERSE[self.relation]}
        )


class Graph(Value):
    """A bounded part of the graph. The centre is the first node; edges are the strongest first.

    ``left_out`` counts the nodes near the centre for which there was no room.
    """

    namespace: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    left_out: int = 0

    @property
    def centre(self) -> Node:
        return self.nodes[0]

    def around(self, node: str) -> tuple[Edge, ...]:
        """Every edge that touches the node, read from it."""
        outward = (edge if edge.source == node else edge.inverse for edge in self.edges)
        return tuple(edge for edge in outward if edge.source == node)


def symbol_id(key: str) -> str:
    """The node of a symbol; no scene's id looks like it."""
    return f"symbol:{key}"


def key_of(node: str) -> str:
    """The key of a symbol's node."""
    return node.removeprefix(symbol_id(""))


def link_id(source: str, relation: Relation, target: str) -> str:
    """Id of the encounter that keeps a link: the same link is the same operation, in whatever run it is met again."""
    return str(uuid.uuid5(SCENE_NAMESPACE, f"{source}\n{relation}\n{target}"))


def held(scene: Scene) -> list[Edge]:
    """From a scene to each of its symbols, in the text or its linkage, as strong as the scene says."""
    scores = {symbol.key: symbol.score for symbol in (*(scene.hyperscene or ()), *(scene.symbols or ()))}
    return [
        Edge(source=scene.id, target=symbol_id(key), relation="holds", weight=scores.get(key, 0.0))
        for key in symbol_keys(scene)
    ]


def orders(scenes: Iterable[Scene]) -> list[Edge]:
    """From each symbol of a linkage to the next one: weight is the share of the first symbol's linkages that go on so."""
    steps: Counter[tuple[str, str]] = Counter()
    starts: Counter[str] = Counter()
    for scene in scenes:
        chain = scene.linkage.chain if scene.linkage else ()
        steps.update({step for step in pairwise(chain) if step[0] != step[1]})
        starts.update(set(chain))
    return [
        Edge(source=symbol_id(a), target=symbol_id(b), relation="then", weight=count / starts[a], count=count)
        for (a, b), count in steps.items()
    ]


def echoes(log: Iterable[Encounter]) -> list[Edge]:
    """From each scene to those that it called back, as encounters of kind ``linked`` say; others are passed over.

    Its weight is the score of recall as a share of the best one there is, the first time it did.
    """
    found: dict[tuple[str, str], Edge] = {}
    for encounter in log:
        target = encounter.data.get("to")
        if encounter.kind != "linked" or encounter.data.get("relation") != "echo" or not isinstance(target, str):
            continue
        pair = (encounter.scene_id, target)
        if target != encounter.scene_id and pair not in found:
            found[pair] = Edge(
                source=pair[0], target=target, relation="echo", weight=_share(encounter.data.get("score"))
            )
    return list(found.values())


def _share(score: object) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not score > 0:
        return 0.0
    return float(score) if score < 1 else 1.0


def turns(log: Iterable[Encounter], scenes: Collection[str]) -> list[Edge]:
    """From each turn to the next, on every branch of the chats in which one of these scenes was met.

    Args:
        log: with whole chats; a gap would join turns that did not follow each other.
    """
    chats: dict[tuple[str, str], list[Encounter]] = {}
    for encounter in log:
        if encounter.chat is not None and encounter.kind in ("met", "spoken"):
            chats.setdefault((encounter.namespace, encounter.chat), []).append(encounter)
    counts: Counter[tuple[str, str]] = Counter()
    for (space, name), met in chats.items():
        if any(encounter.scene_id in scenes for encounter in met):
            counts.update(_steps(Chat(name, met, namespace=space)))
    return [
        Edge(source=source, target=target, relation="next", weight=1.0, count=count)
        for (source, target), count in counts.items()
    ]


def _steps(chat: Chat) -> list[tuple[str, str]]:
    """The scenes of each two meetings that follow each other; branches share their beginnings."""
    pairs = {(a.met, b.met): (a.scene_id, b.scene_id) for tip in chat.tips for a, b in pairwise(chat.steps(tip))}
    return [scenes for scenes in pairs.values() if scenes[0] != scenes[1]]
