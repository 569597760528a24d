"""The archive on a Weaviate server, in two collections."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from scenepipe.errors import ArchiveError
from scenepipe.memory.point_archive import PointArchive
from scenepipe.memory.point_engine import FOUND, KINDS, Kind, Outage, Payload, Point, Search, Space, Where
from scenepipe.memory.points import tags, tags_of

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.collections import Collection

VERSION = 2
OLDEST = (1, 31)

_MARK = "scenepipe archive "
_PAGE = 500
_THREADS = 8
_MOST_FOUND = 10_000
"""A server refuses a greater limit: its ``QUERY_MAXIMUM_RESULTS``, unless it is set otherwise."""
_REFUSED = (400, 413, 422)


class WeaviateArchive(PointArchive):
    """Scenes and encounters in two collections of a Weaviate server, safe for many processes on many machines.

    Objects are created one by one, since the server's batches overwrite what is there; eight at a time are on their
    way. What is filtered by is hashed into one property, words are ranked by the server's BM25 and vectors by its HNSW
    index.

    Args:
        url: of the server's REST interface, such as ``http://localhost:8080``.
        grpc_port: of its gRPC interface, on the same host.
        api_key: where the server asks for one.
        prefix: the collections are ``<prefix>Scenes`` and ``<prefix>Encounters``; one prefix is one archive.
        timeout: seconds until a call to the server fails.
    """

    requires: ClassVar[dict[str, str]] = {"weaviate": "weaviate"}

    def __init__(
        self,
        *,
        url: str,
        grpc_port: Annotated[int, Field(ge=1, le=65535)] = 50051,
        api_key: SecretStr | None = None,
        prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9_]{0,100}$")] = "Scenepipe",
        timeout: Annotated[int, Field(ge=1, le=3600)] = 30,
    ) -> None:
        super().__init__()
        self.url = url
        self.grpc_port = grpc_port
        self.api_key = api_key
        self.prefix = prefix
        self.timeout = timeout
        self.name = f"{url} ({prefix})"

    def _make_engine(self) -> WeaviateEngine:
        place = urlsplit(self.url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ArchiveError(f"'url' of the archive is '{self.url}'; give http://host:8080")
        return WeaviateEngine(self)

    def client(self) -> WeaviateClient:
        """A client that is not connected yet. Its own checks are left out: they ask the package index for news."""
        from weaviate import WeaviateClient
        from weaviate.classes.init import AdditionalConfig, Auth, Timeout
        from weaviate.connect import ConnectionParams

        place = urlsplit(self.url)
        secure = place.scheme == "https"
        waits = Timeout(init=self.timeout, query=self.timeout, insert=self.timeout)
        return WeaviateClient(
            ConnectionParams.from_params(
                http_host=place.hostname or "",
                http_port=place.port or (443 if secure else 80),
                http_secure=secure,
                grpc_host=place.hostname or "",
                grpc_port=self.grpc_port,
                grpc_secure=secure,
            ),
            auth_client_secret=Auth.api_key(self.api_key.get_secret_value()) if self.api_key else None,
            additional_config=AdditionalConfig(timeout=waits),
            skip_init_checks=True,
        )


class WeaviateEngine:
    """The collections of a prefix; see `scenepipe.memory.point_engine.Engine`.

    An object has the properties ``tags`` (all that is filtered by), ``point`` (its id, to page by), ``terms`` (hashed
    symbols, for BM25), ``head`` (the payload as JSON, without the record) and ``record``.
    """

    shared = True

    def __init__(self, options: WeaviateArchive) -> None:
        self.name = options.name
        self.outdated = False
        self.options = options
        self._client: WeaviateClient | None = None
        self._spaces: set[str] = set()

    # --- Opening -----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and make the collections or check whose they are.

        Raises:
            ArchiveError: the server cannot be reached, is too old, or has such a collection of another program.
        """
        with self._named():
            self._client = self.options.client()
            self._client.connect()
            self._check_server(self._client)
            for kind in KINDS:
                if not self._client.collections.exists(self._place(kind)):
                    with _may_exist():
                        self._client.collections.create_from_dict(_schema(self._place(kind)))
                self._identify(kind)
            self._refresh()

    def _check_server(self, client: WeaviateClient) -> None:
        given = str(client.get_meta()["version"])
        if tuple(int(part) for part in given.split("-")[0].split(".")[:2]) < OLDEST:
            raise ArchiveError(
                f"archive {self.name}: the Weaviate server has version {given}, {'.'.join(map(str, OLDEST))} or newer "
                "is needed (named vectors are added to a collection); upgrade it"
            )

    def _identify(self, kind: Kind) -> None:
        mark = self._collection(kind).config.get(simple=True).description or ""
        if not mark.startswith(_MARK) or not mark.removeprefix(_MARK).isdecimal():
            raise ArchiveError(
                f"archive {self.name}: the collection '{self._place(kind)}' belongs to another program; give 'prefix' "
                "another value"
            )
        if int(mark.removeprefix(_MARK)) > VERSION:
            raise ArchiveError(
                f"archive {self.name}: it was written by a newer scenepipe (version {mark.removeprefix(_MARK)}, this "
                f"one knows {VERSION}); upgrade scenepipe"
            )
        self.outdated = self.outdated or int(mark.removeprefix(_MARK)) < VERSION

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    # --- Writing -----------------------------------------------------------------------------------------------------

    def insert(self, scenes: Sequence[Point], encounters: Sequence[Point]) -> None:
        """Write what is new; no encounter is sent before every scene is acknowledged."""
        with self._named(), ThreadPoolExecutor(_THREADS) as threads:
            for space in {point.vector[0] for point in scenes if point.vector}:
                self._make_space(space)
            for kind, points in zip(KINDS, (scenes, encounters), strict=True):
                place = self._collection(kind)
                list(threads.map(_create, [place] * len(points), [kind] * len(points), points))

    def replace(self, kind: Kind, fresh: Sequence[Point]) -> None:
        with self._named(), ThreadPoolExecutor(_THREADS) as threads:
            for space in {point.vector[0] for point in fresh if point.vector}:
                self._make_space(space)
            place = self._collection(kind)
            list(threads.map(_replace, [place] * len(fresh), [kind] * len(fresh), fresh))

    def remove(self, scenes: Sequence[str], encounters: Sequence[str]) -> None:
        """Remove objects, those that are gone already included."""
        with self._named(), ThreadPoolExecutor(_THREADS) as threads:
            for kind, ids in zip(KINDS, (scenes, encounters), strict=True):
                list(threads.map(self._collection(kind).data.delete_by_id, ids))

    def compact(self) -> None:
        """The server does it in its own time; no answer has a removed object before."""

    def mark_current(self) -> None:
        with self._named():
            for kind in KINDS:
                self._collection(kind).config.update(description=f"{_MARK}{VERSION}")
        self.outdated = False

    def _make_space(self, space: Space) -> None:
        from weaviate.classes.config import Configure, VectorDistances

        if _vector(space) in self._spaces:
            return
        self._refresh()
        if _vector(space) not in self._spaces:
            index = Configure.VectorIndex.hnsw(distance_metric=VectorDistances.COSINE)
            config = Configure.Vectors.self_provided(name=_vector(space), vector_index_config=index)
            with _may_exist():
                self._collection("scenes").config.add_vector(vector_config=config)
            self._refresh()

    def _refresh(self) -> None:
        self._spaces = set(self._collection("scenes").config.get().vector_config or ())

    def tidy(self) -> None:
        """The server does it."""

    # --- Reading -----------------------------------------------------------------------------------------------------

    def fetch(self, kind: Kind, ids: Sequence[str], fields: Sequence[str]) -> list[Payload]:
        from weaviate.classes.query import Filter

        with self._named():
            wanted = Filter.by_property("point").contains_any(list(ids))
            found = self._collection(kind).query.fetch_objects(
                filters=wanted, limit=len(ids), return_properties=_properties(fields)
            )
            return [_payload(each.properties) for each in found.objects]

    def select(self, kind: Kind, where: Where, fields: Sequence[str]) -> Iterator[Payload]:
        """Pages by the id, not by an offset, of which a server allows 10,000."""
        from weaviate.classes.query import Filter, Sort

        last = ""
        while True:
            with self._named():
                found = self._collection(kind).query.fetch_objects(
                    filters=_filter(kind, where) & Filter.by_property("point").greater_than(last),
                    sort=Sort.by_property("point"),
                    limit=_PAGE,
                    return_properties=["point", *_properties(fields)],
                )
            yield from (_payload(each.properties) for each in found.objects)
            if len(found.objects) < _PAGE:
                return
            last = str(found.objects[-1].properties["point"])

    def count(self, wheres: Sequence[Where], kind: Kind = "scenes") -> list[int]:
        """A server has no call for several counts, so they are asked for side by side."""

        def one(where: Where) -> int:
            found = self._collection(kind).aggregate.over_all(filters=_filter(kind, where), total_count=True)
            return found.total_count or 0

        with self._named(), ThreadPoolExecutor(min(_THREADS, len(wheres))) as threads:
            return list(threads.map(one, wheres))

    def search(self, searches: Sequence[Search]) -> list[list[tuple[Payload, float]]]:
        with self._named():
            if any(each.vector and _vector(each.vector[0]) not in self._spaces for each in searches):
                self._refresh()
            with ThreadPoolExecutor(_THREADS) as threads:
                return list(threads.map(self._search, searches))

    def _search(self, search: Search) -> list[tuple[Payload, float]]:
        from weaviate.classes.query import MetadataQuery

        query, asked = self._collection("scenes").query, _filter("scenes", search.where)
        limit, properties = min(search.limit, _MOST_FOUND), _properties(FOUND)
        if search.terms is not None:
            words = " ".join(map(_word, search.terms))
            found: Any = query.bm25(
                words, query_properties=["terms"], filters=asked, limit=limit, return_properties=properties
            )
            return [(_payload(each.properties), 0.0) for each in found.objects]
        if search.vector is None:
            found = query.fetch_objects(filters=asked, limit=limit, return_properties=properties)
            return [(_payload(each.properties), 0.0) for each in found.objects]
        if _vector(search.vector[0]) not in self._spaces:
            return []
        found = query.near_vector(
            search.vector[1],
            target_vector=_vector(search.vector[0]),
            filters=asked,
            limit=limit,
            return_properties=properties,
            return_metadata=MetadataQuery(distance=True),
        )
        return [(_payload(each.properties), 1.0 - (each.metadata.distance or 0.0)) for each in found.objects]

    def _place(self, kind: Kind) -> str:
        return f"{self.options.prefix}{kind.capitalize()}"

    def _collection(self, kind: Kind) -> Collection[Any, Any]:
        if self._client is None:
            raise ArchiveError(f"archive {self.name} is closed; await open() first")
        return self._client.collections.use(self._place(kind))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Turn errors of the client into `ArchiveError`; nothing of a record or a key is shown."""
        from httpx import HTTPError
        from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError

        try:
            yield
        except UnexpectedStatusCodeError as error:
            kind = ArchiveError if error.status_code in _REFUSED else Outage
            hint = "; give 'api_key' one that may write" if error.status_code in (401, 403) else ""
            raise kind(f"archive {self.name}: {str(error)[:300]}{hint}") from error
        except (WeaviateBaseError, HTTPError) as error:
            raise Outage(
                f"archive {self.name}: the server cannot be reached, or answers nonsense; check that Weaviate runs "
                f"there and that 'grpc_port' is its gRPC port ({str(error)[:300]})"
            ) from error
        except UnicodeEncodeError as error:
            raise ArchiveError(f"archive {self.name}: {error}") from error


# --- The form of a collection and of an object -----------------------------------------------------------------------


def _schema(name: str) -> dict[str, Any]:
    """A collection whose vectors are all named and added when they are first met."""

    def text(name: str, kind: str, tokens: str, *, filterable: bool, searchable: bool) -> dict[str, Any]:
        index = {"indexFilterable": filterable, "indexSearchable": searchable, "indexRangeFilters": False}
        return {"name": name, "dataType": [kind], "tokenization": tokens, **index}

    return {
        "class": name,
        "description": f"{_MARK}{VERSION}",
        "vectorConfig": {"unused": {"vectorizer": {"none": {}}, "vectorIndexType": "flat"}},
        "properties": [
            text("tags", "text[]", "field", filterable=True, searchable=False),
            text("point", "text", "field", filterable=True, searchable=False),
            text("terms", "text", "word", filterable=False, searchable=True),
            text("head", "text", "field", filterable=False, searchable=False),
            text("record", "text", "field", filterable=False, searchable=False),
        ],
    }


def _create(place: Collection[Any, Any], kind: Kind, point: Point) -> None:
    """One object, unless it is there already."""
    properties, vector = _object(kind, point)
    with _may_exist():
        place.data.insert(properties, uuid=point.id, vector=vector)


def _replace(place: Collection[Any, Any], kind: Kind, point: Point) -> None:
    properties, vector = _object(kind, point)
    place.data.replace(point.id, properties, vector=vector)


def _object(kind: Kind, point: Point) -> tuple[dict[str, Any], dict[str, list[float]] | None]:
    """Properties and vectors of a point."""
    head = {name: value for name, value in point.payload.items() if name != "json"}
    properties = {
        "tags": tags(kind, point.payload),
        "point": point.id,
        "terms": " ".join(map(_word, point.terms or ())),
        "head": json.dumps(head, ensure_ascii=False),
        "record": point.payload["json"],
    }
    return properties, {_vector(point.vector[0]): point.vector[1]} if point.vector else None


@contextlib.contextmanager
def _may_exist() -> Iterator[None]:
    """Make something that is there already, or that another process may make at this moment."""
    from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateInvalidInputError

    try:
        yield
    except (UnexpectedStatusCodeError, WeaviateInvalidInputError) as error:
        if "already exists" not in str(error):
            raise


def _payload(properties: Any) -> Payload:
    return {**json.loads(properties["head"]), "json": properties.get("record")}


def _properties(fields: Sequence[str]) -> list[str]:
    return ["head", "record"] if "json" in fields else ["head"]


def _vector(space: Space) -> str:
    return f"v_{space.name.replace('-', '_')}"


def _word(index: int) -> str:
    return f"t{index:08x}"


def _filter(kind: Kind, where: Where) -> Any:
    from weaviate.classes.query import Filter

    return Filter.all_of([Filter.by_property("tags").contains_any(any_of) for any_of in tags_of(kind, where)])
