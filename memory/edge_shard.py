"""The form of a shard of Qdrant Edge: how it is made, loaded and copied, what a point and a question look like in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scenepipe.memory.point_engine import Kind, Point, Search, Where
from scenepipe.memory.points import tags, tags_of

_TERMS = "terms"
_TAGS = "tags"
_PAGE = 500


def create(folder: Path) -> Any:
    """An empty shard in an empty folder. Spaces are added when they are first met."""
    import qdrant_edge as edge

    config = edge.EdgeConfig(vectors={}, sparse_vectors={_TERMS: edge.EdgeSparseVectorParams()})
    shard = edge.EdgeShard.create(str(folder), config)
    shard.update(edge.UpdateOperation.create_field_index(_TAGS, edge.PayloadSchemaType.Keyword))
    return shard


def load(folder: Path, index_every: int) -> tuple[Any, set[str]]:
    """The shard of a folder and the names of its spaces."""
    import qdrant_edge as edge

    # A vector of 512 numbers is 2 KB, in which the engine gives the size from which it builds an index.
    optimizers = edge.EdgeOptimizersConfig(indexing_threshold=2 * index_every)
    config = edge.EdgeConfig(sparse_vectors={_TERMS: edge.EdgeSparseVectorParams()}, optimizers=optimizers)
    shard = edge.EdgeShard.load(str(folder), config)
    return shard, set(json.loads((folder / "edge_config.json").read_bytes()).get("vectors") or ())


def add_space(shard: Any, name: str) -> None:
    import qdrant_edge as edge

    dim = int(name.rpartition("-")[2])
    shard.update(edge.UpdateOperation.create_dense_vector(name, dim, edge.Distance.Cosine))


def copy(shard: Any, folder: Path, spaces: Iterable[str]) -> None:
    """Every point of a shard into a new one in an empty folder."""
    import qdrant_edge as edge

    other = create(folder)
    try:
        for name in spaces:
            add_space(other, name)
        for found in scroll(shard, with_payload=True, with_vector=True):
            copies = [edge.Point(each.id, each.vector, each.payload) for each in found]
            if copies:
                other.update(edge.UpdateOperation.upsert_points(copies))
        other.flush()
    finally:
        other.close()


def scroll(shard: Any, **what: Any) -> Iterator[Sequence[Any]]:
    """The records of a shard, a page of them at a time; see ``ScrollRequest`` for ``what``."""
    import qdrant_edge as edge

    offset = None
    while True:
        found, offset = shard.scroll(edge.ScrollRequest(offset=offset, limit=_PAGE, **what))
        yield found
        if offset is None:
            return


def edge_point(kind: Kind, point: Point) -> Any:
    import qdrant_edge as edge

    vectors: dict[str, Any] = {}
    if point.terms:
        vectors[_TERMS] = edge.SparseVector(list(point.terms), list(point.terms.values()))
    if point.vector:
        vectors[point.vector[0].name] = point.vector[1]
    return edge.Point(point.id, vectors, {**point.payload, _TAGS: tags(kind, point.payload)})


def nearest(search: Search) -> Any:
    """The query of a search; None for one by filter alone."""
    import qdrant_edge as edge

    if search.terms is not None:
        weights = edge.SparseVector(list(search.terms), list(search.terms.values()))
        return edge.Query.Nearest(weights, using=_TERMS)
    if search.vector is not None:
        return edge.Query.Nearest(search.vector[1], using=search.vector[0].name)
    return None


def condition(kind: Kind, where: Where) -> Any:
    import qdrant_edge as edge

    conditions: list[Any] = [
        edge.FieldCondition(key=_TAGS, match=edge.MatchAny(any_of)) for any_of in tags_of(kind, where)
    ]
    return edge.Filter(must=conditions)
