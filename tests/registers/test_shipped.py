"""The shipped voices pass what any register must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenepipe.models.catalogue import LocalModel
from scenepipe.register import Register, load_register
from scenepipe.testing.register_suite import RegisterSuite, parity

VOICES = ("body", "logician", "philosopher", "poet")
ROOM = Path(__file__).parents[2] / "registers"

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def model(local_model: LocalModel) -> LocalModel:
    return local_model


class _Shipped(RegisterSuite):
    name = ""

    @pytest.fixture
    def register(self) -> Register:
        return load_register(ROOM / self.name)

    @pytest.mark.slow
    def test_its_exported_form_gives_its_own_distribution(self, register: Register, model: LocalModel) -> None:
        super().test_its_exported_form_gives_its_own_distribution(register, model)


class TestBody(_Shipped):
    name = "body"


class TestLogician(_Shipped):
    name = "logician"


class TestPhilosopher(_Shipped):
    name = "philosopher"


class TestPoet(_Shipped):
    name = "poet"


def test_every_shipped_voice_is_proven_here() -> None:
    voices = [load_register(card.parent) for card in sorted(ROOM.glob("*/register.yaml"))]
    assert tuple(register.name for register in voices if register.kind == "voice") == VOICES


@pytest.mark.slow
def test_parity_sees_an_export_of_another_adapter(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from scenepipe.models import gguf_lora

    own, other = load_register(ROOM / "poet"), load_register(ROOM / "body")
    made = gguf_lora.gguf_adapter
    monkeypatch.setattr(gguf_lora, "gguf_adapter", lambda register, model: made(other, model))
    found = parity(own, model)
    assert not found.same
    assert found.between > 0.2
