"""The archive on a Qdrant server, in two collections."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from scenepipe.errors import ArchiveError
from scenepipe.memory.point_archive import PointArchive
from scenepipe.memory.point_engine import FOUND, INDEXED, KINDS, Kind, Outage, Payload, Point, Search, Space, Where
from scenepipe.memory.worker import pages

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

R = TypeVar("R")

VERSION = 2
MEMORY = ":memory:"
OLDEST = (1, 18)

_TERMS = "terms"
_PAGE = 500
_MOST_POINTS = 100
_MOST_CHARACTERS = 4_000_000
_THREADS = 8

_MEANINGS = {
    401: "the server wants another key; give 'api_key'",
    403: "the server wants another key; give 'api_key' one that may write",
    413: "a record is larger than the server takes at once (32 MB by default); raise service.max_request_size_mb there",
    429: "the server is overloaded; try again",
    507: "the server's disk is full; nothing of this write was acknowledged. Free space and write again",
}


class QdrantArchive(PointArchive):
    """Scenes and encounters in two collections of a Qdrant server, safe for many processes on many machines.

    The server acknowledges a write when it is applied and in its log. Points are inserted and never changed. Scenes
    are found by the server's own indexes.

    Args:
        url: of the server's REST interface, such as ``http://localhost:6333``; ``:memory:`` for tests, which keeps
            nothing. A folder is refused: the client's local mode unpickles what it finds there.
        api_key: where the server asks for one.
        prefix: the collections are ``<prefix>_scenes`` and ``<prefix>_encounters``; one prefix is one archive.
        timeout: seconds until a call to the server fails.
    """

    requires: ClassVar[dict[str, str]] = {"qdrant_client": "qdrant"}

    def __init__(
        self,
        *,
        url: str,
        api_key: SecretStr | None = None,
        prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] = "scenepipe",
        timeout: Annotated[int, Field(ge=1, le=3600)] = 30,
    ) -> None:
        super().__init__()
        self.url = url
        self.api_key = api_key
        self.prefix = prefix
        self.timeout = timeout
        self.name = f"{url} ({prefix})"

    def _make_engine(self) -> QdrantEngine:
        if self.url != MEMORY and urlsplit(self.url).scheme not in ("http", "https"):
            raise ArchiveError(
                f"'url' of the archive is '{self.url}'; give http://host:6333, or ':memory:' in a test. A folder is "
                "refused, since the client's local mode unpickles what it finds there: for a folder use 'qdrant-edge'"
            )
        return QdrantEngine(self.name, self.prefix, self._connect)

    def _connect(self) -> QdrantClient:
        from qdrant_client import QdrantClient

        if self.url == MEMORY:
            return QdrantClient(MEMORY)
        key = self.api_key.get_secret_value() if self.api_key else None
        # The client adds its default port to a URL without one, so 80 and 443 have to be said.
        port = urlsplit(self.url).port or (443 if self.url.startswith("https") else 80)
        return QdrantClient(url=self.url, port=port, api_key=key, timeout=self.timeout, check_compatibility=False)


class QdrantEngine:
    """The collections of a prefix; see `scenepipe.memory.point_engine.Engine`.

    Args:
        connect: makes the client.
    """

    shared = True

    def __init__(self, name: str, prefix: str, connect: Callable[[], QdrantClient]) -> None:
        self.name = name
        self.outdated = False
        self.prefix = prefix
        self._connect = connect
        self._client: QdrantClient | None = None
        self._spaces: set[str] = set()
        self._making = threading.Lock()

    # --- Opening -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and make the collections or check whose they are.

        Raises:
            ArchiveError: the server cannot be reached, is too old, or has such a collection of another program.
        """
        with self._named():
            self._client = self._connect()
            self._check_server(self._client)
            for kind in KINDS:
                if not self._client.collection_exists(self._place(kind)):
                    self._make(self._client, kind)
                self._identify(self._client, kind)
            self._refresh()

    def _check_server(self, client: QdrantClient) -> None:
        if _is_local(client):
            return
        given = client.info().version
        found = tuple(int(part) for part in given.split("-")[0].split(".")[:2])
        if found < OLDEST:
            raise ArchiveError(
                f"archive {self.name}: the Qdrant server has version {given}, {'.'.join(map(str, OLDEST))} or newer is "
                "needed (named vectors are added to a collection); upgrade it"
            )

    def _make(self, client: QdrantClient, kind: Kind) -> None:
        from qdrant_client import models

        sparse = {_TERMS: models.SparseVectorParams()} if kind == "scenes" else None
        with _may_exist():
            client.create_collection(
                self._place(kind), vectors_config={}, sparse_vectors_config=sparse, metadata={"scenepipe": VERSION}
            )

    def _identify(self, client: QdrantClient, kind: Kind) -> None:
        found = (client.get_collection(self._place(kind)).config.metadata or {}).get("scenepipe")
        if not isinstance(found, int):
            raise ArchiveError(
                f"archive {self.name}: the collection '{self._place(kind)}' belongs to another program; give 'prefix' "
                "another value"
            )
        if found > VERSION:
            raise ArchiveError(
                f"archive {self.name}: it was written by a newer scenepipe (version {found}, this one knows "
                f"{VERSION}); upgrade scenepipe"
            )
        self.outdated = self.outdated or found < VERSION
        if not _is_local(client):
            self._index(client, kind)

    def _index(self, client: QdrantClient, kind: Kind) -> None:
        """Payload indexes; asking again for one that is there changes nothing, and heals a crash between two."""
        from qdrant_client import models

        there = client.get_collection(self._place(kind)).payload_schema
        for field in INDEXED[kind]:
            if field not in there:
                tenant = True if field == "namespace" else None
                params = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=tenant)
                client.create_payload_index(self._place(kind), field, params, wait=True)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # --- Writing -----------------------------------------------------------------------------------------------------

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write what is new, scenes first; each call waits until the server has applied it."""
        with self._named():
            for space in {point.vector[0] for point in scenes if point.vector}:
                self._make_space(space)
            for chunk in _chunks(scenes):
                self._upsert("scenes", chunk)
            for chunk in _chunks(encounters):
                self._upsert("encounters", chunk)

    def _upsert(self, kind: Kind, points: Sequence[Point], *, over: bool = False) -> None:
        from qdrant_client import models

        self._opened().upsert(
            self._place(kind),
            [_point(point) for point in points],
            wait=True,
            ordering=models.WriteOrdering.STRONG,
            update_mode=models.UpdateMode.UPSERT if over else models.UpdateMode.INSERT_ONLY,
        )

    def replace(self, kind: Kind, fresh: Sequence[Point]) -> None:
        with self._named():
            for space in {point.vector[0] for point in fresh if point.vector}:
                self._make_space(space)
            for chunk in _chunks(fresh):
                self._upsert(kind, chunk, over=True)

    def remove(self, scenes: Sequence[str], encounters: Sequence[str]) -> None:
        """Remove points; each call waits until the server has applied it."""
        from qdrant_client import models

        with self._named():
            for kind, ids in zip(KINDS, (scenes, encounters), strict=True):
                for page in pages(ids, _PAGE):
                    self._opened().delete(
                        self._place(kind), list(page), wait=True, ordering=models.WriteOrdering.STRONG
                    )

    def compact(self) -> None:
        """The server does it, when its optimizer comes to the segment; no answer has a removed point before."""

    def mark_current(self) -> None:
        with self._named():
            for kind in KINDS:
                self._opened().update_collection(self._place(kind), metadata={"scenepipe": VERSION})
        self.outdated = False

    def _make_space(self, space: Space) -> None:
        from qdrant_client import models

        if space.name in self._spaces:
            return
        self._refresh()
        if space.name not in self._spaces:
            dense = models.DenseVectorConfig(size=space.dim, distance=models.Distance.COSINE)
            config = models.DenseVectorNameConfig(dense=dense)
            with _may_exist():
                self._opened().create_vector_name(self._place("scenes"), space.name, config, wait=True)
            self._refresh()

    def _refresh(self) -> None:
        vectors = self._opened().get_collection(self._place("scenes")).config.params.vectors
        self._spaces = set(vectors) if isinstance(vectors, dict) else set()

    def tidy(self) -> None:
        """The server does it."""

    # --- Reading -----------------------------------------------------------------------------------------------------

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        with self._named():
            found = self._opened().retrieve(self._place(kind), list(ids), with_payload=list(fields))
            return [record.payload or {} for record in found]

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterator[Payload]:
        offset, names = None, list(fields)
        while True:
            with self._named():
                found, offset = self._opened().scroll(
                    self._place(kind), scroll_filter=_filter(where), limit=_PAGE, offset=offset, with_payload=names
                )
            yield from (record.payload or {} for record in found)
            if offset is None:
                return

    def count(self, wheres: Sequence[Where], kind: Kind = "scenes") -> list[int]:
        """A server has no call for several counts, so they are asked for side by side."""
        client, place = self._opened(), self._place(kind)

        def one(where: Where) -> int:
            return client.count(place, count_filter=_filter(where), exact=True).count

        with self._named():
            if _is_local(client):
                return [one(where) for where in wheres]
            with ThreadPoolExecutor(min(_THREADS, len(wheres))) as threads:
                return list(threads.map(one, wheres))

    def search(self, searches: Sequence[Search]) -> list[list[tuple[Payload, float]]]:
        rest: Iterator[list[tuple[Payload, float]]]
        with self._named():
            if any(each.vector and each.vector[0].name not in self._spaces for each in searches):
                self._refresh()
            known = [each for each in searches if not each.vector or each.vector[0].name in self._spaces]
            requests = [_request(each) for each in known]
            answers = self._opened().query_batch_points(self._place("scenes"), requests) if requests else []
        rest = iter([[(point.payload or {}, point.score) for point in answer.points] for answer in answers])
        return [next(rest) if each in known else [] for each in searches]

    def _place(self, kind: Kind) -> str:
        return f"{self.prefix}_{kind}"

    def _opened(self) -> QdrantClient:
        if self._client is None:
            raise ArchiveError(f"archive {self.name} is closed; await open() first")
        return self._client

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn errors of the client into `ArchiveError` with what to do; nothing of a record or a key is shown."""
        from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except ResponseHandlingException as error:
            cause = f"{type(error.source).__name__}: {error.source}"
            raise Outage(
                f"archive {self.name}: the server cannot be reached, or answers nonsense; check that Qdrant runs "
                f"there ({cause[:300]})"
            ) from error
        except ResourceExhaustedResponse as error:
            raise Outage(f"archive {self.name}: {_MEANINGS[429]}") from error
        except UnexpectedResponse as error:
            detail = _MEANINGS.get(error.status_code or 0) or error.content.decode(errors="replace")[:300]
            kind = Outage if error.status_code not in (400, 413, 422) else ArchiveError
            raise kind(f"archive {self.name}: {detail} (HTTP {error.status_code})") from error
        except UnicodeEncodeError as error:
            raise ArchiveError(f"archive {self.name}: {error}") from error


def _is_local(client: QdrantClient) -> bool:
    return bool(client.init_options.get("location") == MEMORY)


@contextlib.contextmanager
def _may_exist() -> Iterator[None]:
    """Make something that another process may make at this moment."""
    from qdrant_client.http.exceptions import UnexpectedResponse

    try:
        yield
    except UnexpectedResponse as error:
        if b"exist" not in error.content:
            raise


def _chunks(points: Sequence[Point]) -> Iterator[list[Point]]:
    """Few enough points at a time for the server's limit on a request."""
    chunk: list[Point] = []
    size = 0
    for point in points:
        length = len(point.payload["json"])
        if chunk and (len(chunk) == _MOST_POINTS or size + length > _MOST_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(point)
        size += length
    if chunk:
        yield chunk


def _point(point: Point) -> models.PointStruct:
    from qdrant_client import models

    vectors: dict[str, Any] = {}
    if point.terms:
        vectors[_TERMS] = models.SparseVector(indices=list(point.terms), values=list(point.terms.values()))
    if point.vector:
        vectors[point.vector[0].name] = point.vector[1]
    return models.PointStruct(id=point.id, payload=dict(point.payload), vector=vectors)


def _request(search: Search) -> models.QueryRequest:
    from qdrant_client import models

    query: Any = None
    using = None
    if search.terms is not None:
        weights = models.SparseVector(indices=list(search.terms), values=list(search.terms.values()))
        query, using = models.NearestQuery(nearest=weights), _TERMS
    elif search.vector is not None:
        query, using = models.NearestQuery(nearest=search.vector[1]), search.vector[0].name
    return models.QueryRequest(
        query=query, using=using, filter=_filter(search.where), limit=search.limit, with_payload=list(FOUND)
    )


def _filter(where: Where) -> models.Filter | None:
    from qdrant_client import models

    if not where:
        return None
    return models.Filter(
        must=[
            models.FieldCondition(key=field, match=models.MatchAny(any=list(values))) for field, values in where.items()
        ]
    )
