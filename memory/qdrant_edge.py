"""The archive in a folder, in the engine of Qdrant that runs inside this process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock, Timeout

from scenepipe.errors import ArchiveError
from scenepipe.memory.point_archive import PointArchive
from scenepipe.memory.points import Kind, Payload, Point, Search, Space, Where, tags, tags_of

VERSION = 1
ENGINE = "0.9"

_MARK = "archive.json"
_LOCK = ".lock"
_SHARD = "shard"
_TERMS = "terms"
_TAGS = "tags"
_PAGE = 500


class QdrantEdgeArchive(PointArchive):
    """Scenes and encounters in a shard of Qdrant Edge, in a folder that one process uses at a time.

    Every write is flushed to disk before it is acknowledged. Appends that wait are written together. The engine is
    young: its version is pinned, and an archive made by another one is refused; export it with the version that made
    it, import it with this one.

    Args:
        path: the folder; ``~`` is expanded, missing folders are made for their owner alone.
    """

    requires: ClassVar[dict[str, str]] = {"qdrant_edge": "qdrant-edge"}

    def __init__(self, *, path: str) -> None:
        super().__init__()
        self.path = path
        self.name = path

    def _make_engine(self) -> EdgeEngine:
        return EdgeEngine(Path(self.path).expanduser().absolute())


class EdgeEngine:
    """The shard of a folder; see `scenepipe.memory.points.Engine`.

    Both collections are in one shard, and all that is filtered by is hashed into one payload field: a flush writes
    every file of every shard and index to disk, and took 150 ms with one index and 330 ms with five where one fsync
    took 8 ms.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)
        self._lock = FileLock(folder / _LOCK, timeout=0)
        self._shard: Any = None
        self._spaces: set[str] = set()

    # --- Opening -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Lock the folder and load its shard, or make it.

        Raises:
            ArchiveError: the folder is another program's, in use, of a newer version, or cannot be read.
        """
        with self._named():
            self._take()
            self._identify()
            self._shard = self._load()

    def _take(self) -> None:
        for folder in reversed((self.folder, *self.folder.parents)):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        if not self.folder.is_dir():
            raise ArchiveError(f"archive {self.name}: it is a file; give 'path' a folder")
        self._refuse_foreign()
        try:
            self._lock.acquire()
        except Timeout:
            raise ArchiveError(
                f"archive {self.name}: another process has it open; a Qdrant Edge archive serves one process at a "
                "time. Use 'sqlite' or a Qdrant server for several"
            ) from None

    def _refuse_foreign(self) -> None:
        """Before anything is written into a folder that is not an archive's."""
        there = {entry.name for entry in self.folder.iterdir() if not entry.name.startswith(_LOCK)}
        if there and _MARK not in there:
            raise ArchiveError(
                f"archive {self.name}: the folder holds other files ({', '.join(sorted(there)[:5])}); give 'path' an "
                "empty or a new folder"
            )

    def _identify(self) -> None:
        mark = self.folder / _MARK
        if not mark.exists():
            fresh = self.folder / f"{_LOCK}.new"
            _write_durably(fresh, json.dumps({"scenepipe": "qdrant-edge", "version": VERSION, "engine": ENGINE}))
            os.replace(fresh, mark)
        try:
            found = json.loads(mark.read_bytes())
            version, engine = int(found["version"]), str(found["engine"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(f"archive {self.name}: {_MARK} is damaged ({error}); restore it from a backup") from None
        if version > VERSION:
            raise ArchiveError(
                f"archive {self.name}: it was written by a newer scenepipe (version {version}, this one knows "
                f"{VERSION}); upgrade scenepipe"
            )
        if engine != ENGINE:
            raise ArchiveError(
                f"archive {self.name}: it was made by Qdrant Edge {engine}, this is for {ENGINE}; export it with "
                f'"qdrant-edge-py=={engine}.*" and import it into a new folder'
            )

    def _load(self) -> Any:
        import qdrant_edge as edge

        place = self.folder / _SHARD
        if not place.exists():
            self._make(place)
        shard = edge.EdgeShard.load(str(place))
        self._spaces = set(json.loads((place / "edge_config.json").read_bytes()).get("vectors") or ())
        return shard

    def _make(self, place: Path) -> None:
        """Make the shard beside its place and move it there whole, so that a crash leaves none half made."""
        import qdrant_edge as edge

        half = self.folder / f"{_LOCK}.{_SHARD}"
        if half.exists():
            shutil.rmtree(half)
        half.mkdir(mode=0o700)
        config = edge.EdgeConfig(vectors={}, sparse_vectors={_TERMS: edge.EdgeSparseVectorParams()})
        shard = edge.EdgeShard.create(str(half), config)
        shard.update(edge.UpdateOperation.create_field_index(_TAGS, edge.PayloadSchemaType.Keyword))
        shard.flush()
        shard.close()
        os.replace(half, place)
        _sync_folder(self.folder)

    def close(self) -> None:
        """Flush and close the shard, then let others open the folder."""
        shard, self._shard = self._shard, None
        try:
            if shard is not None:
                with self._named():
                    shard.flush()
                    shard.close()
        finally:
            self._lock.release()

    # --- Writing -----------------------------------------------------------------------------------------------------

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write what is new, scenes first; flushed when this returns."""
        with self._named():
            for space in {point.vector[0] for point in scenes if point.vector}:
                self._make_space(space)
            self._upsert([_point("scenes", point) for point in scenes])
            self._upsert([_point("encounters", point) for point in encounters])
            self._shard.flush()

    def _upsert(self, fresh: list[Any]) -> None:
        import qdrant_edge as edge

        if fresh:
            self._shard.update(edge.UpdateOperation.upsert_points(fresh, update_mode=edge.UpdateMode.InsertOnly))

    def _make_space(self, space: Space) -> None:
        import qdrant_edge as edge

        if space.name not in self._spaces:
            self._shard.update(edge.UpdateOperation.create_dense_vector(space.name, space.dim, edge.Distance.Cosine))
            self._spaces.add(space.name)

    # --- Reading -----------------------------------------------------------------------------------------------------

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        with self._named():
            found = self._shard.retrieve(list(ids), with_payload=list(fields), with_vector=False)
            return [record.payload for record in found]

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterator[Payload]:
        import qdrant_edge as edge

        offset, names = None, list(fields)
        while True:
            with self._named():
                request = edge.ScrollRequest(
                    offset=offset, limit=_PAGE, filter=_filter(kind, where), with_payload=names, with_vector=False
                )
                found, offset = self._shard.scroll(request)
            yield from (record.payload for record in found)
            if offset is None:
                return

    def count(self, wheres: Sequence[Where]) -> list[int]:
        import qdrant_edge as edge

        with self._named():
            requests = [edge.CountRequest(filter=_filter("scenes", where), exact=True) for where in wheres]
            return [self._shard.count(request) for request in requests]

    def search(self, searches: Sequence[Search], fields: Sequence[str]) -> list[list[tuple[Payload, float]]]:
        with self._named():
            return [self._search(each, list(fields)) for each in searches]

    def _search(self, search: Search, fields: list[str]) -> list[tuple[Payload, float]]:
        import qdrant_edge as edge

        if search.vector is not None and search.vector[0].name not in self._spaces:
            return []
        request = edge.QueryRequest(
            limit=search.limit, query=_query(search), filter=_filter("scenes", search.where), with_payload=fields
        )
        return [(found.payload, found.score) for found in self._shard.query(request)]

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


def _point(kind: Kind, point: Point) -> Any:
    import qdrant_edge as edge

    vectors: dict[str, Any] = {}
    if point.terms:
        vectors[_TERMS] = edge.SparseVector(list(point.terms), list(point.terms.values()))
    if point.vector:
        vectors[point.vector[0].name] = point.vector[1]
    return edge.Point(point.id, vectors, {**point.payload, _TAGS: tags(kind, point.payload)})


def _query(search: Search) -> Any:
    import qdrant_edge as edge

    if search.terms is not None:
        weights = edge.SparseVector(list(search.terms), list(search.terms.values()))
        return edge.Query.Nearest(weights, using=_TERMS)
    if search.vector is not None:
        return edge.Query.Nearest(search.vector[1], using=search.vector[0].name)
    return None


def _filter(kind: Kind, where: Where) -> Any:
    import qdrant_edge as edge

    conditions: list[Any] = [
        edge.FieldCondition(key=_TAGS, match=edge.MatchAny(any_of)) for any_of in tags_of(kind, where)
    ]
    return edge.Filter(must=conditions)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
