"""``render``: the scene in other forms: text, symbol, hypertoken, emoji, Δ-answer, formula.

* text: what was said; without a reply, the text itself
* symbol: the linkage joined, ``дрожьтишинавход``
* emoji: each register's emoji once per 0.2 of its weight (at least once), then a face for valence and arousal
* hypertoken: the name that the archive knows the linkage by, since scenes had it again and again; empty without one
* unfolded: the earlier text that a hypertoken called by name stands for, exactly as it was; empty without one
* delta: the Δ-answer, the scene's address and what was unfolded there: ``Δ41@c1 (дрожь, порог) ⟶ дрожь → тишина → вход``
* formula: the address as its registers' symbols by weight, what is left for the base model, and what they unfold:
  ``Δ41@c1 = 0.5♥ + 0.3∴ + 0.2 · (дрожь → тишина → вход)``; the same line again for a scene that was stored
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

from scenepipe.context import Context
from scenepipe.folding.named import named
from scenepipe.folding.recalled import called, name_of
from scenepipe.register import Register
from scenepipe.scene import Emotion, Scene

Form = Literal["text", "symbol", "hypertoken", "unfolded", "emoji", "delta", "formula"]

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
        self.uses = frozenset({"archive"}) if "hypertoken" in forms else frozenset()

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        """Write one output per form.

        Raises:
            ArchiveError: the archive cannot be read.
        """
        outputs = {form: _FORMS[form](scene, ctx.registers) for form in self.forms}
        if outputs.get("hypertoken") == "" and scene.linkage is not None and ctx.resources.archive is not None:
            known = await ctx.archive.hypertokens(scene.origin.namespace)
            outputs["hypertoken"] = name_of(scene.linkage.chain, known) or ""
        return scene.with_(outputs=dict(outputs))


def _text(scene: Scene, registers: Mapping[str, Register]) -> str:
    return scene.reply.text if scene.reply is not None else scene.text


def _symbol(scene: Scene, registers: Mapping[str, Register]) -> str:
    return scene.linkage.joined if scene.linkage is not None else ""


def _hypertoken(scene: Scene, registers: Mapping[str, Register]) -> str:
    """As far as the text itself calls it; the archive is asked for any other."""
    chain = scene.linkage.chain if scene.linkage is not None else ()
    return name_of(chain, scene.hypertokens or ()) or ""


def _unfolded(scene: Scene, registers: Mapping[str, Register]) -> str:
    tokens = named(scene)
    others = (echo for echo in scene.echoes or () if echo.scene_id != scene.id)
    return next((echo.text for echo in others if tokens and not called(echo.text, tokens)), "")


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


def _formula(scene: Scene, registers: Mapping[str, Register]) -> str:
    return formula(scene, {name: register.symbol for name, register in registers.items()})


def formula(scene: Scene, symbols: Mapping[str, str]) -> str:
    """The scene in one line, from what an archive stores of it.

    Args:
        symbols: a register's one character by its name; a register without one is named.
    """
    weights = scene.registers.weights if scene.registers is not None else {}
    spoken = {name: weight for name, weight in weights.items() if weight > 0}
    left = 1.0 - sum(spoken.values())
    parts = [f"{weight:g}{symbols.get(name, name)}" for name, weight in spoken.items()]
    parts += [f"{round(left, 4):g}"] if round(left, 4) > 0 else []
    chain = " → ".join(scene.linkage.chain) if scene.linkage is not None else ""
    said = " + ".join(parts) + (f" · ({chain})" if chain else "")
    return f"{scene.delta or 'Δ?'} = {said}"


_FORMS: dict[Form, Callable[[Scene, Mapping[str, Register]], str]] = {
    "text": _text,
    "symbol": _symbol,
    "hypertoken": _hypertoken,
    "unfolded": _unfolded,
    "emoji": _emoji,
    "delta": _delta,
    "formula": _formula,
}
