"""What operators see: probes, figures, spans, logs, the command line."""

from __future__ import annotations

import inspect
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner
from websockets.sync.client import connect

from scenepipe.errors import BackendError, MissingExtraError
from scenepipe.pipeline import Pipeline
from scenepipe.server.logs import JsonLines
from scenepipe.server.metrics import Metrics
from scenepipe.server.openapi import document
from scenepipe.server.settings import Settings
from scenepipe.server.tracing import Spans, tracer_of
from scenepipe.testing.fake_backend import FakeBackend
from tests.scenepipe.server.conftest import wait_until

CHAT = "/v1/chat/completions"


def asked(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_count_what_happened_and_name_nobody(served: Any) -> None:
    http = served.client()
    for number in range(3):
        http.post(CHAT, json=asked(f"Who knocks {number}?", model="poet"), headers={"X-Scenepipe-Chat": f"c{number}"})
    http.post(CHAT, json=asked("x", model="poet@0.5+philosopher@0.25"))
    http.post(CHAT, json=asked("x", model="nobody"))
    http.get("/nothing/at/all")
    text = http.get("/metrics").text
    found = samples(text)

    def of(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert of("scenepipe_requests_total", route=CHAT, method="POST", status="200") == 4
    assert of("scenepipe_requests_total", route=CHAT, method="POST", status="404") == 1
    assert of("scenepipe_requests_total", route="other", method="GET", status="404") == 1
    assert of("scenepipe_replies_total", model="poet", finish_reason="stop") == 3
    assert of("scenepipe_replies_total", model="mixture", finish_reason="stop") == 1
    assert of("scenepipe_generation_tokens_total", model="poet") > 0
    assert of("scenepipe_scenes_remembered_total") == 4
    assert of("scenepipe_stage_seconds_count", stage="decode") == 4
    assert of("scenepipe_queue_seconds_count") == 4
    assert of("scenepipe_requests_running") == of("scenepipe_requests_waiting") == 0
    for said in ("knocks", "c1", "nobody", "nothing"):
        assert said not in text


def test_labels_come_from_closed_sets() -> None:
    metrics = Metrics(["toy"], ["decode"])
    for number in range(1_000):
        metrics.stage(f"stage {number}", 0.1)
        metrics.answered("other", f"METHOD{number}", 404, 0.1)
    assert len(metrics.text()) < 20_000


class Broken(FakeBackend):
    """Cannot be opened."""

    async def open(self, model: Any, registers: Any) -> Any:
        raise BackendError("the weights are gone")


def test_an_engine_that_does_not_open_is_unready_and_says_so(serving: Callable[..., Any]) -> None:
    http = serving(backend=Broken()).client()
    assert http.get("/health").status_code == 200
    unready = http.get("/ready")
    assert (unready.status_code, unready.json()["reason"]) == (503, "engine")
    found = http.post(CHAT, json=asked("x"))
    assert (found.status_code, found.json()["error"]["code"]) == (503, "engine_unavailable")
    assert http.post("/v1/scenes", json={"input": "Who knocks?"}).status_code == 200


def test_spans_tell_request_reply_and_stages_and_nothing_that_was_said(serving: Callable[..., Any]) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    started = serving(app={"spans": Spans(provider.get_tracer("test"), "fake")})
    assert started.client().post(CHAT, json=asked("BOOM knocks")).status_code == 502
    wait_until(lambda: any(span.name.startswith("POST") for span in exporter.get_finished_spans()), 5)
    assert "knocks" not in str([span.to_json() for span in exporter.get_finished_spans()])
    exporter.clear()
    assert started.client().post(CHAT, json=asked("Who knocks?", model="poet")).status_code == 200
    wait_until(lambda: any(span.name.startswith("POST") for span in exporter.get_finished_spans()), 5)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    root = spans[f"POST {CHAT}"]
    assert {"chat poet", "stage toy-scene", "stage decode", "stage remember"} <= spans.keys()
    assert all(span.parent.span_id == root.context.span_id for span in spans.values() if span is not root)
    told = dict(spans["chat poet"].attributes)
    assert told["gen_ai.request.model"] == "poet"
    assert told["gen_ai.usage.output_tokens"] > 0
    assert "knocks" not in str([(span.name, dict(span.attributes)) for span in spans.values()])


def test_spans_need_an_endpoint() -> None:
    assert tracer_of({}) is None
    with pytest.raises(MissingExtraError, match="opentelemetry"):
        tracer_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})


def test_log_lines_are_json_and_cannot_be_made_up() -> None:
    record = logging.LogRecord("scenepipe.server", logging.INFO, "", 0, "request", (), None)
    record.fields = {"text": 'a\n{"level": "forged"}'}
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["text"].endswith("}")


@pytest.mark.parametrize("wanted", [False, True])
def test_content_is_logged_only_where_it_is_wanted(
    serving: Callable[..., Any], caplog: pytest.LogCaptureFixture, wanted: bool
) -> None:
    started = serving(log_content=wanted)
    with caplog.at_level(logging.INFO, "scenepipe.server"):
        started.client().post(CHAT, json=asked("The heron waits."))
        wait_until(lambda: any(record.message == "request" for record in caplog.records), 5)
    told = str([getattr(record, "fields", {}) for record in caplog.records])
    assert ("heron" in told) is wanted


@pytest.mark.parametrize("wanted", [False, True])
def test_sockets_log_content_only_where_it_is_wanted(
    serving: Callable[..., Any], caplog: pytest.LogCaptureFixture, wanted: bool
) -> None:
    started = serving(log_content=wanted)
    texts = {
        "bridge": {"type": "run", "id": "1", "text": "The heron waits."},
        "responses": {"type": "response.create", "input": "The heron waits."},
    }
    with caplog.at_level(logging.INFO, "scenepipe.server"):
        for path, message in texts.items():
            caplog.clear()
            with connect(f"ws://127.0.0.1:{started.server.port}/v1/{path}") as raw:
                raw.send(json.dumps(message))
                wait_until(lambda: any(record.message == "request" for record in caplog.records), 10)
            (fields,) = [record.fields for record in caplog.records if record.message == "request"]  # type: ignore[attr-defined]
            assert fields["reply_tokens"] > 0
            assert (fields.get("text") == "The heron waits.") is wanted, path
            assert ("reply" in fields) is wanted


def test_every_route_stands_in_the_openapi_document(served: Any) -> None:
    told = served.client().get("/openapi.json").json()
    assert told == json.loads(json.dumps(document()))
    posts = {path for path, methods in told["paths"].items() if "post" in methods}
    assert posts == {
        route.path
        for route in served.app.routes
        if "POST" in (getattr(route, "methods", None) or ()) and route.path.startswith("/v1")
    }
    schemas = told["components"]["schemas"]
    assert "messages" in schemas["ChatBody"]["required"]


def test_scenes_tokens_search_and_explanation_call_no_model(serving: Callable[..., Any]) -> None:
    class Silent(FakeBackend):
        def generate(self, request: Any) -> Any:
            raise AssertionError("the model was called")

    http = serving(backend=Silent()).client()
    scenes = http.post("/v1/scenes", json={"input": ["Who knocks?", "BOOM"]}).json()["data"]
    assert scenes[0]["object"] == "scene"
    assert scenes[0]["linkage"]["chain"]
    assert scenes[1]["object"] == "error"
    tokens = http.post("/v1/tokenize", json={"input": "Who knocks?"}).json()["data"]
    assert [symbol["lemma"] for symbol in tokens[0]["symbols"]] == ["who", "knocks"]
    told = http.post("/v1/explain", json={"input": "Who knocks?", "model": "poet"}).json()
    assert told["left_out"] == ["decode", "remember"]
    assert told["previews"]["decode"]["mixture"]["asked"] == {"poet": 1.0}
    assert http.post("/v1/memory/search", json={"input": "Who knocks?"}).json()["data"] == []


def test_texts_that_are_tokenised_together_share_batches(serving: Callable[..., Any]) -> None:
    class Counting:
        reads: ClassVar[frozenset[str]] = frozenset()
        writes: ClassVar[frozenset[str]] = frozenset({"symbols"})
        batch_size = 8
        sizes: ClassVar[list[int]] = []

        def run_batch(self, scenes: Any, ctx: Any) -> Any:
            self.sizes.append(len(scenes))
            return [scene.with_(symbols=()) for scene in scenes]

    http = serving(pipeline=Pipeline([("count", Counting())], name="counting")).client()
    found = http.post("/v1/tokenize", json={"input": [f"text {number}" for number in range(8)]}).json()["data"]
    assert [each["symbols"] for each in found] == [[]] * 8
    assert Counting.sizes == [8]


def test_a_preview_keeps_nobody_waiting(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = next(step.stage for step in served.pipeline.steps if step.name == "decode")
    monkeypatch.setattr(decode, "preview", lambda scene, ctx: {"thread": threading.get_ident()})
    http = served.client()
    given = {"messages": [{"role": "user", "content": "Who knocks?"}], "scenepipe": {"scene": True}}
    spoken = http.post(CHAT, json=given).json()["scenepipe"]["scene"]
    for scene in (None, spoken):
        told = http.post("/v1/explain", json={"input": "Who knocks?", "scene": scene}).json()["previews"]["decode"]
        assert told["thread"] != served._thread.ident


def test_search_has_the_filters_of_recall(served: Any) -> None:
    http = served.client()
    http.post(CHAT, json=asked("Who knocks at night?"), headers={"X-Scenepipe-Chat": "evening"})

    def found(**body: Any) -> list[str]:
        answer = http.post("/v1/memory/search", json={"input": "Who knocks?"} | body)
        assert answer.status_code == 200, answer.text
        return [echo["text"] for echo in answer.json()["data"]]

    assert found() == ["Who knocks at night?"]
    assert found(chat="evening") == ["Who knocks at night?"]
    assert found(chat="morning") == []
    assert found(kinds=["read"]) == []
    assert found(until="2001-01-01") == []
    assert found(ranges={"tension": [0.9, 1.0]}) == []
    wrong = http.post("/v1/memory/search", json={"input": "x", "since": "soon"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "since")


def test_the_command_has_the_defaults_of_the_settings() -> None:
    from scenepipe.cli.serve import serve

    own = {name: each.default for name, each in inspect.signature(serve).parameters.items()}
    known = {name: field.default for name, field in Settings.model_fields.items()}
    shared = own.keys() & known.keys()
    assert own.keys() - shared == {"pipeline", "origin"}
    assert {name: own[name] for name in shared} == {name: known[name] for name in shared}


def test_key_writes_a_line_and_shows_the_key_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scenepipe.cli.app import app
    from scenepipe.server.auth import read_keys

    path = tmp_path / "keys.txt"
    shown = CliRunner().invoke(app, ["key", "anna", "--file", str(path)], prog_name="scenepipe")
    assert shown.exit_code == 0
    key = shown.stdout.strip().removeprefix("key: ")
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    caller = read_keys(path).of(key)
    assert caller is not None
    assert caller.name == "anna"
    path.write_text(path.read_text().rstrip("\n"))  # as an editor may leave it
    path.chmod(0o644)  # as another user's server needs it
    CliRunner().invoke(app, ["key", "ben", "--file", str(path)], prog_name="scenepipe")
    assert len(read_keys(path)) == 2
    assert path.stat().st_mode & 0o777 == 0o644
    monkeypatch.setattr("scenepipe.server.logs.to_stream", lambda: None)  # it would log where the runner has closed
    refused = CliRunner().invoke(app, ["serve", "echo", "--host", "0.0.0.0"], prog_name="scenepipe")
    assert refused.exit_code == 2


def test_the_remote_tokenizer_of_another_pipeline_reads_the_same(served: Any) -> None:
    from scenepipe.context import Context, Resources
    from scenepipe.modules.remote_tokenizer import RemoteTokenizer
    from scenepipe.scene import new_scene

    stage = RemoteTokenizer(url=served.url)
    ctx = Context(Resources(), run="r", pipeline="p", emit=lambda event: None)
    texts = ["Who knocks?", "Почему я не чувствую шаг в себе?"]
    try:
        found = stage.run_batch([new_scene(text) for text in texts], ctx)
    finally:
        assert stage._http is not None
        stage._http.close()
    for scene in found:
        own = served.call(served.pipeline.steps[0].run(new_scene(scene.text), ctx))
        assert (scene.language, scene.symbols) == (own.language, own.symbols)
