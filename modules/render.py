"""``render``: the scene in other forms: text, symbol, emoji, Δ-answer.

* text: what was said; without a reply, the text itself
* symbol: the linkage joined, ``дрожьтишинавход``
* emoji: each register's emoji once per 0.2 of its weight (at least once), then a face for valence and arousal
* delta: the Δ-answer, the scene's address and what was unfolded there: ``Δ41@c1 (дрожь, порог) ⟶ дрожь → тишина → вход``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from scenepipe.contracts import Context
from scenepipe.register import Register
from scenepipe.scene import Emotion, Scene

Form = Literal["text", "symbol", "emoji", "delta"]

EMOJI_STEP = 0.2
FACES: Mapping[tuple[int, int], str] = {
    (1, 1): "🤩", (1, 0): "🙂", (1, -1): "😌",
    (0, 1): "😯", (0, 0): "😐", (0, -1): "😶",
    (-1, 1): "😨", (-1, 0): "🙁", (-1, -1): "😔",
}  # fmt: skip
"""Face by sign of valence and of arousal; figures within 0.15 of nought count as nought."""
NEUTRAL = 0.15


class Render:
    """Scene to outputs.

    Args:
        forms: which forms, in this order.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"language", "linkage", "delta", "registers", "emotion"})
    writes: ClassVar[frozenset[str]] = frozenset({"outputs"})
    version: ClassVar[str] = "1"

    def __init__(self, *, forms: tuple[Form, ...] = ("text", "symbol", "emoji", "delta")) -> None:
        self.forms = forms

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        """Write one output per form."""
        return scene.with_(outputs={form: _FORMS[form](scene, ctx.registers) for form in self.forms})


def _text(scene: Scene, registers: Mapping[str, Register]) -> str:
    return scene.reply.text if scene.reply is not None else scene.text


def _symbol(scene: Scene, registers: Mapping[str, Register]) -> str:
    return scene.linkage.joined if scene.linkage is not None else ""


def _emoji(scene: Scene, registers: Mapping[str, Register]) -> str:
    weights = scene.registers.weights if scene.registers is not None else {}
    voices = [
        registers[n].emoji * max(1, round(w / EMOJI_STEP)) for n, w in weights.items() if n in registers and w > 0
    ]
    return "".join([*voices, _face(scene.emotion)])


def _face(emotion: Emotion | None) -> str:
    if emotion is None or emotion.valence.value is None:
        return ""
    return FACES[_sign(emotion.valence.value), _sign(emotion.arousal.value or 0.0)]


def _sign(value: float) -> int:
    return 0 if abs(value) < NEUTRAL else (1 if value > 0 else -1)


def _delta(scene: Scene, registers: Mapping[str, Register]) -> str:
    chain = " → ".join(scene.linkage.chain) if scene.linkage is not None else ""
    if scene.delta is None:
        return f"Δ? ⟶ {chain}" if chain else "Δ?"
    language = "ru" if scene.language is not None and scene.language.code == "ru" else "en"
    gloss = scene.delta.gloss.get(language)
    address = f"{scene.delta} ({gloss})" if gloss else str(scene.delta)
    return f"{address} ⟶ {chain}" if chain else address


_FORMS: dict[Form, Callable[[Scene, Mapping[str, Register]], str]] = {
    "text": _text,
    "symbol": _symbol,
    "emoji": _emoji,
    "delta": _delta,
}
