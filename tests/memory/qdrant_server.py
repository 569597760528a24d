"""A stand-in for a Qdrant server: its REST interface, as far as the archive speaks it, over the client's local mode.

What it cannot show is the server's own durability and its HNSW index; those are Qdrant's. What it shows is that every
request of the archive has the form that Qdrant's own client models parse, and what the archive does with refusals.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient, models

Handler = Callable[..., Any]


class QdrantServer:
    """Serves on a free port of the loopback until `stop`.

    Args:
        version: what it says it is.
        api_key: refuse requests without it.
    """

    def __init__(self, *, version: str = "1.18.0", api_key: str | None = None) -> None:
        self.version = version
        self.api_key = api_key
        self.requests: list[tuple[str, str, Any]] = []
        self.refuse: tuple[int, str] | None = None
        self._local = QdrantClient(":memory:", force_disable_check_same_thread=True)
        self._indexes: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        server = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = server.answer(self.command, self.path, self.headers.get("api-key"), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_PATCH = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._local.close()

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> tuple[int, Any]:
        path, _, asked = path.partition("?")
        given = json.loads(body) if body else None
        with self._lock:
            self.requests.append((method, f"{path}?{asked}" if asked else path, given))
            if self.refuse is not None:
                return self.refuse[0], {"status": {"error": self.refuse[1]}, "time": 0.0}
            if self.api_key is not None and key != self.api_key:
                return 401, {"status": {"error": "Must provide an API key"}, "time": 0.0}
            if path == "/":
                return 200, {"title": "qdrant - vector search engine", "version": self.version}
            try:
                result = self._route(method, path, given)
            except ValueError as error:
                known = "already exists" in str(error)
                return (409 if known else 400), {"status": {"error": str(error)}, "time": 0.0}
            except LookupError as error:
                return 404, {"status": {"error": str(error)}, "time": 0.0}
        return 200, {"result": _plain(result), "status": "ok", "time": 0.0}

    def _route(self, method: str, path: str, given: Any) -> Any:
        for verb, pattern, handler in self._routes():
            found = re.fullmatch(pattern, path)
            if verb == method and found:
                return handler(*found.groups(), given)
        raise LookupError(f"no such route: {method} {path}")

    def _routes(self) -> list[tuple[str, str, Handler]]:
        place = r"/collections/([^/]+)"
        return [
            ("GET", f"{place}/exists", lambda name, _: {"exists": self._local.collection_exists(name)}),
            ("GET", place, self._info),
            ("PUT", place, self._create),
            ("PATCH", place, self._update),
            ("POST", f"{place}/points/delete", self._delete),
            ("PUT", f"{place}/index", self._index),
            ("PUT", f"{place}/vectors/([^/]+)", self._vector),
            ("PUT", f"{place}/points", self._upsert),
            ("POST", f"{place}/points", self._retrieve),
            ("POST", f"{place}/points/scroll", self._scroll),
            ("POST", f"{place}/points/count", self._count),
            ("POST", f"{place}/points/query/batch", self._query),
        ]

    def _info(self, name: str, _: Any) -> Any:
        return _plain(self._local.get_collection(name)) | {"payload_schema": self._indexes.get(name, {})}

    def _create(self, name: str, given: Any) -> bool:
        asked = models.CreateCollection.model_validate(given)
        return self._local.create_collection(
            name,
            vectors_config=asked.vectors,
            sparse_vectors_config=asked.sparse_vectors,
            metadata=asked.metadata,
        )

    def _update(self, name: str, given: Any) -> bool:
        asked = models.UpdateCollection.model_validate(given)
        return self._local.update_collection(name, metadata=asked.metadata)

    def _delete(self, name: str, given: Any) -> Any:
        return self._local.delete(name, models.PointIdsList.model_validate(given).points)

    def _index(self, name: str, given: Any) -> Any:
        asked = models.CreateFieldIndex.model_validate(given)
        params = _plain(asked.field_schema)
        self._indexes.setdefault(name, {})[asked.field_name] = {"data_type": "keyword", "params": params, "points": 0}
        return {"operation_id": 0, "status": "completed"}

    def _vector(self, name: str, vector: str, given: Any) -> Any:
        return self._local.create_vector_name(name, vector, models.DenseVectorNameConfig.model_validate(given))

    def _upsert(self, name: str, given: Any) -> Any:
        asked = models.PointsList.model_validate(given)
        return self._local.upsert(name, asked.points, update_mode=asked.update_mode)

    def _retrieve(self, name: str, given: Any) -> Any:
        asked = models.PointRequest.model_validate(given)
        return self._local.retrieve(name, asked.ids, with_payload=asked.with_payload or False)

    def _scroll(self, name: str, given: Any) -> Any:
        asked = models.ScrollRequest.model_validate(given)
        points, after = self._local.scroll(
            name, asked.filter, limit=asked.limit or 10, offset=asked.offset, with_payload=asked.with_payload or False
        )
        return {"points": _plain(points), "next_page_offset": after}

    def _count(self, name: str, given: Any) -> Any:
        asked = models.CountRequest.model_validate(given)
        return self._local.count(name, asked.filter, exact=bool(asked.exact))

    def _query(self, name: str, given: Any) -> Any:
        asked = models.QueryRequestBatch.model_validate(given)
        return [_plain(answer) for answer in self._local.query_batch_points(name, asked.searches)]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
