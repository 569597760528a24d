"""`render`: every form says what the scene holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenepipe.contracts import Resources
from scenepipe.mixture import Mixture
from scenepipe.modules.render import Render
from scenepipe.register import Register
from scenepipe.scene import Delta, Emotion, Linkage, Reading, Scene
from scenepipe.testing.stage_suite import StageSuite, spoken_scene

REGISTERS = {
    n: Register(n, Path(n), {}, {}, "*", emoji, "CC0-1.0", {}) for n, emoji in (("poet", "🍃"), ("philosopher", "🦉"))
}


def feeling(valence: float | None, arousal: float | None) -> Emotion:
    return Emotion(valence=Reading(value=valence), arousal=Reading(value=arousal))


class TestRender(StageSuite):
    def make_stage(self) -> Render:
        return Render()

    def resources(self) -> Resources:
        return Resources(registers=REGISTERS)

    def scene(self) -> Scene:
        return spoken_scene("Почему?", reply="Тишина.").with_(
            linkage=Linkage(chain=("дрожь", "тишина", "вход")),
            delta=Delta(code=41, codebook="c1", margin=0.1, alternative=3, gloss={"ru": "дрожь, порог", "en": "x"}),
            registers=Mixture(weights={"philosopher": 0.5, "poet": 0.1}),
            emotion=feeling(-0.5, 0.6),
        )

    def test_the_four_forms(self) -> None:
        outputs = self.run_stage(self.scene()).outputs
        assert outputs == {
            "text": "Тишина.",
            "symbol": "дрожьтишинавход",
            "emoji": "🦉🦉🍃😨",
            "delta": "Δ41@c1 (дрожь, порог) ⟶ дрожь → тишина → вход",
        }

    def test_forms_are_those_asked_for_in_that_order(self) -> None:
        outputs = self.run_stage(self.scene(), Render(forms=("delta", "text"))).outputs
        assert outputs is not None
        assert list(outputs) == ["delta", "text"]

    def test_unknown_stays_unknown(self) -> None:
        bare = self.scene().with_(reply=None, delta=None, emotion=feeling(None, None))
        outputs = self.run_stage(bare).outputs
        assert outputs is not None
        assert outputs["text"] == "Почему?"
        assert outputs["delta"].startswith("Δ? ⟶")
        assert outputs["emoji"] == "🦉🦉🍃"

    @pytest.mark.parametrize(
        ("valence", "arousal", "face"), [(0.5, -0.5, "😌"), (0.0, 0.0, "😐"), (-0.5, -0.5, "😔"), (0.5, None, "🙂")]
    )
    def test_faces(self, valence: float, arousal: float | None, face: str) -> None:
        outputs = self.run_stage(self.scene().with_(emotion=feeling(valence, arousal))).outputs
        assert outputs is not None
        assert outputs["emoji"].endswith(face)
