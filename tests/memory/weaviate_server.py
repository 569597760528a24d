"""A stand-in for a Weaviate server: its REST and gRPC interfaces, as far as the archive speaks them.

Messages are parsed with the client's own protocol buffers. What it cannot show is the server's durability, its HNSW
index and its exact BM25 figures (the terms are ranked by a plain inverse document frequency here).
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
from weaviate.proto.v1 import (
    aggregate_pb2,
    base_pb2,
    base_search_pb2,
    properties_pb2,
    search_get_pb2,
    weaviate_pb2_grpc,
)

_HNSW = {
    "distance": "cosine",
    "cleanupIntervalSeconds": 300,
    "dynamicEfMin": 100,
    "dynamicEfMax": 500,
    "dynamicEfFactor": 8,
    "ef": -1,
    "efConstruction": 128,
    "flatSearchCutoff": 40000,
    "maxConnections": 32,
    "skip": False,
    "vectorCacheMaxObjects": 10**12,
}
_DEFAULTS = {
    "invertedIndexConfig": {
        "bm25": {"b": 0.75, "k1": 1.2},
        "cleanupIntervalSeconds": 60,
        "stopwords": {"preset": "en", "additions": None, "removals": None},
    },
    "replicationConfig": {"factor": 1},
    "shardingConfig": {
        "virtualPerPhysical": 128, "desiredCount": 1, "actualCount": 1, "desiredVirtualCount": 128,
        "actualVirtualCount": 128, "key": "_id", "strategy": "hash", "function": "murmur3",
    },
}  # fmt: skip
_Filters = base_pb2.Filters


class WeaviateServer(weaviate_pb2_grpc.WeaviateServicer):  # type: ignore[misc]
    """Serves both interfaces on free ports of the loopback until `stop`.

    Args:
        version: what it says it is.
        api_key: refuse requests without it.
    """

    def __init__(self, *, version: str = "1.31.0", api_key: str | None = None) -> None:
        self.version = version
        self.api_key = api_key
        self.schema: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.refuse: tuple[int, str] | None = None
        self._lock = threading.RLock()
        self._http = _http(self)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(self, self._grpc)
        self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()

    def stop(self) -> None:
        self._grpc.stop(None).wait()
        self._http.shutdown()
        self._http.server_close()

    # --- REST --------------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> tuple[int, Any]:
        given = json.loads(body) if body else None
        with self._lock:
            self.requests.append((method, path, given))
            if path == "/v1/meta":
                return 200, {"version": self.version, "hostname": self.url, "modules": {}}
            if self.refuse is not None:
                return self.refuse[0], {"error": [{"message": self.refuse[1]}]}
            if self.api_key is not None and key != f"Bearer {self.api_key}":
                return 401, {"error": [{"message": "anonymous access not enabled"}]}
            return self._rest(method, path.partition("?")[0], given)

    def _rest(self, method: str, path: str, given: Any) -> tuple[int, Any]:
        found = re.fullmatch(r"/v1/schema/(\w+)", path)
        if found and method == "GET":
            schema = self.schema.get(found[1])
            return (200, schema) if schema else (404, None)
        if found and method == "PUT":
            return self._put(found[1], given)
        if (method, path) == ("POST", "/v1/schema"):
            if given["class"] in self.schema:
                return 422, {"error": [{"message": f"class name {given['class']} already exists"}]}
            self.objects[given["class"]] = {}
            return self._put(given["class"], given)
        if (method, path) == ("POST", "/v1/objects"):
            return self._insert(given)
        found = re.fullmatch(r"/v1/objects/(\w+)/([0-9a-f-]{36})", path)
        if found and method == "DELETE":
            return (204, None) if self.objects[found[1]].pop(found[2], None) else (404, None)
        if found and method == "PUT":
            self.objects[found[1]].pop(found[2])
            return self._insert({**given, "id": found[2]})
        return 404, {"error": [{"message": f"no such route: {method} {path}"}]}

    def _put(self, name: str, given: dict[str, Any]) -> tuple[int, Any]:
        for vector in given["vectorConfig"].values():
            vector["vectorIndexConfig"] = {**_HNSW, **(vector.get("vectorIndexConfig") or {})}
        self.schema[name] = {**_DEFAULTS, **given}
        return 200, self.schema[name]

    def _insert(self, given: dict[str, Any]) -> tuple[int, Any]:
        place = self.objects[given["class"]]
        if given["id"] in place:
            return 422, {"error": [{"message": f"id '{given['id']}' already exists"}]}
        declared = {each["name"]: each["dataType"][0] for each in self.schema[given["class"]]["properties"]}
        for name, value in given["properties"].items():
            assert declared[name] == ("text[]" if isinstance(value, list) else "text"), name
        for name in given.get("vectors") or {}:
            if name not in self.schema[given["class"]]["vectorConfig"]:
                return 422, {"error": [{"message": f"vector {name} is not configured"}]}
        place[given["id"]] = given
        return 200, given

    # --- gRPC --------------------------------------------------------------------------------------------------------

    def Search(self, request: search_get_pb2.SearchRequest, context: grpc.ServicerContext) -> Any:
        if request.limit > 10_000:  # its QUERY_MAXIMUM_RESULTS
            context.abort(grpc.StatusCode.UNKNOWN, "invalid pagination params: query maximum results exceeded")
        self._allow(context)
        with self._lock:
            self.requests.append(("gRPC", "Search", request))
            found = [(each, 0.0) for each in self._matching(request.collection, request.filters)]
            if request.HasField("near_vector"):
                found = _nearest(found, request.near_vector)
            elif request.HasField("bm25_search"):
                found = _ranked(found, request.bm25_search)
            for sort in request.sort_by:
                found.sort(key=lambda pair: pair[0]["properties"][sort.path[0]], reverse=not sort.ascending)
            names = list(request.properties.non_ref_properties)
            return search_get_pb2.SearchReply(
                results=[_result(each, names, distance) for each, distance in found[: request.limit]]
            )

    def Aggregate(self, request: aggregate_pb2.AggregateRequest, context: grpc.ServicerContext) -> Any:
        self._allow(context)
        with self._lock:
            count = len(self._matching(request.collection, request.filters))
        return aggregate_pb2.AggregateReply(single_result=aggregate_pb2.AggregateReply.Single(objects_count=count))

    def _allow(self, context: grpc.ServicerContext) -> None:
        if self.refuse is not None:
            context.abort(grpc.StatusCode.UNAVAILABLE, self.refuse[1])
        sent = dict(context.invocation_metadata()).get("authorization")
        if self.api_key is not None and sent != f"Bearer {self.api_key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthorized")

    def _matching(self, name: str, filters: Any) -> list[dict[str, Any]]:
        return [each for each in self.objects[name].values() if _agrees(each["properties"], filters)]


def _agrees(properties: dict[str, Any], given: Any) -> bool:
    if given.operator == _Filters.OPERATOR_AND:
        return all(_agrees(properties, each) for each in given.filters)
    value = properties[given.target.property]
    if given.operator == _Filters.OPERATOR_CONTAINS_ANY:
        return not set(given.value_text_array.values).isdisjoint(value if isinstance(value, list) else [value])
    assert given.operator == _Filters.OPERATOR_GREATER_THAN, given.operator
    return bool(value > given.value_text)


def _nearest(found: list[Any], asked: base_search_pb2.NearVector) -> list[Any]:
    [target] = asked.targets.target_vectors or asked.target_vectors
    packed = asked.vector_bytes or next((each.vector_bytes for each in asked.vectors), b"")
    packed = packed or next(each.vector_bytes or each.vectors[0].vector_bytes for each in asked.vector_for_targets)
    query = np.frombuffer(packed, "<f4").astype(float)
    having = [(each, (each.get("vectors") or {}).get(target)) for each, _ in found]
    distances = [(each, 1 - _cosine(query, np.array(vector))) for each, vector in having if vector is not None]
    return sorted(distances, key=lambda pair: pair[1])


def _cosine(one: Any, other: Any) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def _ranked(found: list[Any], asked: base_search_pb2.BM25) -> list[Any]:
    [name] = asked.properties
    documents = [(each, set(each["properties"][name].split())) for each, _ in found]
    words = set(asked.query.split())
    counts = Counter(word for _, have in documents for word in have & words)
    scored = [(each, sum(math.log1p(len(found) / counts[w]) for w in have & words)) for each, have in documents]
    return [(each, 0.0) for each, score in sorted(scored, key=lambda pair: -pair[1]) if score]


def _result(given: dict[str, Any], names: list[str], distance: float) -> Any:
    fields = {name: properties_pb2.Value(text_value=given["properties"][name]) for name in names}
    return search_get_pb2.SearchResult(
        properties=search_get_pb2.PropertiesResult(non_ref_props=properties_pb2.Properties(fields=fields)),
        metadata=search_get_pb2.MetadataResult(id=given["id"], distance=distance, distance_present=True),
    )


def _http(server: WeaviateServer) -> ThreadingHTTPServer:
    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = server.answer(self.command, self.path, self.headers.get("authorization"), body)
            content = b"" if status == 204 else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return http
