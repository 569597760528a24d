"""The archive in a folder, in the engine of Qdrant that runs inside this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from scenepipe.errors import ArchiveError
from scenepipe.memory import edge_shard
from scenepipe.memory.edge_cache import EdgeCache, Rows
from scenepipe.memory.edge_folder import EdgeFolder
from scenepipe.memory.point_archive import PointArchive
from scenepipe.memory.point_engine import FOUND, Kind, Payload, Point, Search, Where
from scenepipe.memory.points import tags_of


class QdrantEdgeArchive(PointArchive):
    """Scenes and encounters in a shard of Qdrant Edge, in a folder that one process uses at a time.

    Every write is flushed to disk before it is acknowledged. Appends that wait are written together. The engine is
    young: its version is pinned, and an archive made by another one is refused; export it with the version that made
    it, import it with this one.

    Args:
        path: the folder; ``~`` is expanded, missing folders are made for their owner alone.
        index_every: after so many new scenes, and a tenth of what is there, the vector index is built anew; new ones
            are searched exactly until then. Building it takes about a millisecond a scene, during which later calls
            wait.
    """

    requires: ClassVar[dict[str, str]] = {"qdrant_edge": "qdrant-edge"}

    def __init__(self, *, path: str, index_every: Annotated[int, Field(ge=1)] = 10_000) -> None:
        super().__init__()
        self.path = path
        self.index_every = index_every
        self.name = path

    def _make_engine(self) -> EdgeEngine:
        return EdgeEngine(Path(self.path).expanduser().absolute(), self.index_every)


class EdgeEngine:
    """The shard of a folder; see `scenepipe.memory.point_engine.Engine`.

    Both collections are in one shard, and all that is filtered by is hashed into one payload field: a flush writes
    every file of every shard and index to disk, and took 150 ms with one index and 330 ms with five where one fsync
    took 8 ms.
    """

    shared = False

    def __init__(self, folder: Path, index_every: int) -> None:
        self.name = str(folder)
        self.outdated = False
        self.index_every = index_every
        self._folder = EdgeFolder(folder)
        self._kept = EdgeCache()
        self._unindexed = 0
        self._shard: Any = None
        self._spaces: set[str] = set()

    # --- Opening -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the folder and load its shard, or make it.

        Raises:
            ArchiveError: the folder is another program's, in use, of a newer version, or cannot be read.
        """
        with self._named():
            self.outdated = self._folder.open()
            if not self._folder.shard.exists():
                self._make()
            self._load()
        self.compact()

    def _make(self) -> None:
        """Make the shard beside its place and move it there whole, so that a crash leaves none half made."""
        shard = edge_shard.create(self._folder.half())
        shard.flush()
        shard.close()
        self._folder.adopt()

    def _load(self) -> None:
        self._shard, self._spaces = edge_shard.load(self._folder.shard, self.index_every)
        # How much is indexed, the engine does not say; asked at the first write, it does nothing if nothing is due.
        self._unindexed = self._shard.info().points_count

    def mark_current(self) -> None:
        self._folder.mark_current()
        self.outdated = False

    def close(self) -> None:
        """Flush and close the shard, then let others open the folder."""
        shard, self._shard = self._shard, None
        try:
            if shard is not None:
                with self._named():
                    shard.flush()
                    shard.close()
        finally:
            self._folder.close()

    # --- Writing -----------------------------------------------------------------------------------------------------

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write what is new, scenes first; flushed when this returns."""
        try:
            with self._named():
                for name in {point.vector[0].name for point in scenes if point.vector} - self._spaces:
                    edge_shard.add_space(self._shard, name)
                    self._spaces.add(name)
                self._insert_new("scenes", scenes)
                self._insert_new("encounters", encounters)
                self._shard.flush()
        except BaseException:
            self._kept.forget()  # nobody knows how much of it was written
            raise
        self._unindexed += len(scenes)
        self._kept.wrote(scenes)

    def _insert_new(self, kind: Kind, fresh: Sequence[Point]) -> None:
        import qdrant_edge as edge

        if fresh:
            points = [edge_shard.edge_point(kind, point) for point in fresh]
            self._shard.update(edge.UpdateOperation.upsert_points(points, update_mode=edge.UpdateMode.InsertOnly))

    def replace(self, kind: Kind, fresh: Sequence[Point]) -> None:
        import qdrant_edge as edge

        self._kept.forget()
        with self._named():
            if fresh:
                points = [edge_shard.edge_point(kind, point) for point in fresh]
                self._shard.update(edge.UpdateOperation.upsert_points(points))
                self._shard.flush()

    def remove(self, scenes: Sequence[str], encounters: Sequence[str]) -> None:
        """Remove points; `compact` is owed from now on, also by the process that opens the folder after a crash."""
        import qdrant_edge as edge

        self._kept.forget()
        with self._named():
            self._folder.owe()
            self._shard.update(edge.UpdateOperation.delete_points([*scenes, *encounters]))
            self._shard.flush()

    def compact(self) -> None:
        """Where it is owed, write the shard anew: the engine's files and its log keep what was deleted.

        It takes as long as writing all points again.
        """
        if self._folder.owes:
            with self._named():
                edge_shard.copy(self._shard, self._folder.half(), self._spaces)
                self._shard.close()
                try:
                    self._folder.adopt()
                finally:
                    self._load()
                self._folder.paid()

    def tidy(self) -> None:
        """Build the vector index when enough is new."""
        with self._named():
            if self._unindexed >= max(self.index_every, self._shard.info().points_count // 10):
                self._shard.optimize()
                self._unindexed = 0

    # --- Reading -----------------------------------------------------------------------------------------------------

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        with self._named():
            found = self._shard.retrieve(list(ids), with_payload=list(fields), with_vector=False)
            return [record.payload for record in found]

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterator[Payload]:
        return (record.payload for record in self._records(kind, where, fields))

    def _records(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterator[Any]:
        asked = {"filter": edge_shard.condition(kind, where), "with_payload": list(fields), "with_vector": False}
        with self._named():
            for page in edge_shard.scroll(self._shard, **asked):
                yield from page

    def count(self, wheres: Sequence[Where], kind: Kind = "scenes") -> list[int]:
        """Scenes with one value are counted once; from then on this process, the only writer, keeps count."""
        with self._named():
            return [self._count(where) if kind == "scenes" else self._count_anew(kind, where) for where in wheres]

    def _count(self, where: Where) -> int:
        asked = tags_of("scenes", where)
        if len(asked) > 1 or len(asked[0]) > 1:
            return self._count_anew("scenes", where)
        [[tag]] = asked
        return self._kept.count(tag, lambda: self._count_anew("scenes", where))

    def _count_anew(self, kind: Kind, where: Where) -> int:
        import qdrant_edge as edge

        return int(self._shard.count(edge.CountRequest(filter=edge_shard.condition(kind, where), exact=True)))

    def search(self, searches: Sequence[Search]) -> list[list[tuple[Payload, float]]]:
        """Searches without payloads, then each payload once: reading one costs as much as finding twenty."""
        with self._named():
            found = [self._search(each) for each in searches]
            payloads = self._payloads({name for each in found for name, _ in each})
        return [[(payloads[name], score) for name, score in each if name in payloads] for each in found]

    def _payloads(self, ids: set[str]) -> Mapping[str, Payload]:
        kept = self._kept.rows(self._count({}), self._read_rows)
        if kept is not None:
            return kept
        rows = self._shard.retrieve(list(ids), with_payload=list(FOUND), with_vector=False) if ids else []
        return {str(row.id): row.payload for row in rows}

    def _read_rows(self) -> Rows:
        return {str(record.id): record.payload for record in self._records("scenes", {}, FOUND)}

    def _search(self, search: Search) -> list[tuple[str, float]]:
        import qdrant_edge as edge

        if search.vector is not None and search.vector[0].name not in self._spaces:
            return []
        where = self._telling(search)
        request = edge.QueryRequest(
            limit=search.limit,
            query=edge_shard.nearest(search),
            filter=edge_shard.condition("scenes", where) if where else None,
            with_payload=False,
        )
        return [(str(found.id), found.score) for found in self._shard.query(request)]

    def _telling(self, search: Search) -> Where:
        """The conditions without one that all scenes meet: checking it for each point takes most of a search."""
        everything = self._count({})
        return {
            field: values
            for field, values in search.where.items()
            if (search.terms is None and search.vector is None)
            or field != "namespace"
            or self._count({field: values}) < everything
        }

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn errors of the engine, which are plain exceptions, and of the file system into `ArchiveError`."""
        try:
            yield
        except BaseException as error:
            # The engine raises Exception itself, and a panic of its own type that is no Exception.
            if type(error) is not Exception and type(error).__name__ != "PanicException" and not _is_system(error):
                raise
            detail = str(error).strip().splitlines()
            raise ArchiveError(
                f"archive {self.name}: the engine failed ({detail[0] if detail else type(error).__name__}); if it does "
                "so again, restore a backup or import an export into a new folder"
            ) from error


def _is_system(error: BaseException) -> bool:
    return isinstance(error, (OSError, UnicodeEncodeError))
