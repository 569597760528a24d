"""`render`: every form says what the scene holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenepipe.context import Resources
from scenepipe.mixture import Mixture
from scenepipe.modules.render import Render, formula
from scenepipe.recall import archived
from scenepipe.register import Register
from scenepipe.scene import Delta, Echo, Emotion, Hypertoken, Linkage, Reading, Scene
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


# --- Formula and hypertoken ------------------------------------------------------------------------------------------

SYMBOLS = {"poet": "≈", "philosopher": "∴"}


@pytest.mark.parametrize(
    ("weights", "chain", "expected"),
    [
        ({"poet": 0.5, "philosopher": 0.3}, ("дрожь", "вход"), "Δ41@c1 = 0.5≈ + 0.3∴ + 0.2 · (дрожь → вход)"),
        ({"poet": 1.0}, ("дрожь",), "Δ41@c1 = 1≈ · (дрожь)"),
        ({"poet": 0.7, "philosopher": 0.3, "body": 0.0}, (), "Δ41@c1 = 0.7≈ + 0.3∴"),
        ({"sailor": 0.25}, (), "Δ41@c1 = 0.25sailor + 0.75"),
        ({}, ("дрожь",), "Δ41@c1 = 1 · (дрожь)"),
    ],
)
def test_the_formula_of_a_scene(weights: dict[str, float], chain: tuple[str, ...], expected: str) -> None:
    delta = Delta(code=41, codebook="c1", margin=0.1, alternative=3)
    scene = spoken_scene("Почему?").with_(delta=delta, registers=Mixture(weights=weights), linkage=Linkage(chain=chain))
    assert formula(scene, SYMBOLS) == expected
    assert formula(archived(scene), SYMBOLS) == expected


def test_the_formula_of_an_unanalysed_scene() -> None:
    assert formula(spoken_scene("Почему?").with_(delta=None, registers=None, linkage=None), SYMBOLS) == "Δ? = 1"


def test_the_stage_writes_the_formula_with_its_registers_symbols() -> None:
    suite = TestRender()
    outputs = suite.run_stage(suite.scene(), Render(forms=("formula",))).outputs
    assert outputs == {"formula": "Δ41@c1 = 0.5* + 0.1* + 0.4 · (дрожь → тишина → вход)"}


def test_the_archive_is_used_only_for_the_hypertoken() -> None:
    assert Render(forms=("hypertoken",)).uses == {"archive"}
    assert Render(forms=("text", "unfolded", "formula")).uses == frozenset()


def test_without_an_archive_a_linkage_has_the_name_that_the_text_calls_it_by() -> None:
    suite, token = TestRender(), Hypertoken(name="дрожьтишинавход", chain=("дрожь", "тишина", "вход"))
    render = Render(forms=("hypertoken",))
    assert suite.run_stage(suite.scene(), render).outputs == {"hypertoken": ""}
    called = suite.scene().with_(hypertokens=(token,))
    assert suite.run_stage(called, render).outputs == {"hypertoken": "дрожьтишинавход"}


def test_what_a_symbol_unfolds_to_is_another_scene_that_does_not_call_it() -> None:
    text, suite = "И снова шагвход", TestRender()
    token = Hypertoken(name="шагвход", chain=("шаг", "вход"), evidence=((8, 15),))
    scene = spoken_scene(text)
    echoes = tuple(
        Echo(scene_id=name, text=said)
        for name, said in ((scene.id, text), ("1", "ШагВход?"), ("2", "Шаг,\r\nвход 🙂"), ("3", "Шаг"))
    )
    render = Render(forms=("unfolded",))
    called = scene.with_(hypertokens=(token,), echoes=echoes)
    assert suite.run_stage(called, render).outputs == {"unfolded": "Шаг,\r\nвход 🙂"}
    assert suite.run_stage(called.with_(echoes=None), render).outputs == {"unfolded": ""}
    assert suite.run_stage(called.with_(hypertokens=()), render).outputs == {"unfolded": ""}
