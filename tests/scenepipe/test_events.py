"""Events are the same on the wire: every one reads back from its JSON line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scenepipe.errors import BackendError
from scenepipe.events import parse_event
from scenepipe.mixture import Mixture
from scenepipe.modules.decode import Decode
from scenepipe.pipeline import Pipeline
from scenepipe.scene import Language, Linkage, SemanticField, Vector, new_scene
from scenepipe.testing.fake_backend import FakeBackend


def story() -> list[Any]:
    start = new_scene("шаг").with_(
        language=Language(code="ru"),
        linkage=Linkage(chain=("дрожь",)),
        registers=Mixture(),
        field=SemanticField(axes="axes@1", vector=Vector(data=bytes([0, 127, 255]), encoder="e")),
    )
    given = ("language", "linkage", "registers", "field")
    with Pipeline([("decode", Decode(seed=1))], backend=FakeBackend(), given=given) as pipe:
        return list(pipe.stream(start))


def test_every_event_of_a_run_reads_back() -> None:
    events = story()
    assert {"run_started", "token", "reply_finished", "scene_updated", "run_finished"} <= {e.type for e in events}
    for event in events:
        assert parse_event(event.model_dump_json()) == event


def test_a_failure_reads_back_and_ends_the_story() -> None:
    start = new_scene("шаг").with_(language=Language(code="ru"), linkage=Linkage(), registers=Mixture())
    given = ("language", "linkage", "registers")
    failed = None
    with (
        Pipeline([("decode", Decode(seed=1))], backend=FakeBackend(fail_on="шаг"), given=given) as pipe,
        pytest.raises(BackendError),
    ):
        for event in pipe.stream(start):
            failed = event
    assert failed is not None
    assert failed.type == "failure"
    assert parse_event(failed.model_dump_json()) == failed


@pytest.mark.parametrize("line", ["{}", '{"type": "nothing"}', "no json", '{"type": "token", "text": "a", "more": 1}'])
def test_what_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        parse_event(line)
