"""What any stage must pass. Subclass `StageSuite`, give ``make_stage``, and add tests of your own.

class TestShout(StageSuite):
    def make_stage(self):
        return Shout(mark="!")
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from scenepipe.context import Context, Resources
from scenepipe.mixture import Mixture, Reason
from scenepipe.scene import (
    STAGE_FIELDS,
    Delta,
    Emotion,
    Language,
    LanguageCode,
    LanguageSpan,
    Linkage,
    Receipt,
    Reply,
    Resonance,
    Rhythm,
    Scene,
    SemanticField,
    Symbol,
    Tension,
    new_scene,
)
from scenepipe.steps import StageFailed, Step

TEXTS = ("Почему я не чувствую шаг в себе?", "Why can I not feel the step in me?", "🙂", "a\0b", "שלום", "x" * 3000)


def spoken_scene(text: str, *, reply: str = "Да.") -> Scene:
    """A scene with every field filled, as it leaves the last stage; ``reply`` is what was said."""
    receipt = Receipt(backend="fake", model="fake", mode="exact", prompt_version=1, prompt_sha256="0" * 64, seed=1)
    code: LanguageCode = "ru" if any("а" <= c.lower() <= "я" for c in text) else "en"
    return new_scene(text).with_(
        language=Language(code=code, confidence=1.0, spans=(LanguageSpan(code=code, span=(0, len(text))),)),
        pieces=(),
        symbols=(Symbol(lemma="шаг" if code == "ru" else "step", language=code, part="noun", evidence=((0, 1),)),),
        hypertokens=(),
        hyperscene=(),
        linkage=Linkage(chain=("дрожь", "тишина") if code == "ru" else ("trembling", "silence")),
        rhythm=Rhythm(words=len(text.split()), lines=1),
        emotion=Emotion(),
        tension=Tension(),
        field=SemanticField(axes="axes@1"),
        delta=Delta(code=1, codebook="c1", margin=0.1, alternative=2),
        registers=Mixture(weights={"poet": 0.5}, reasons={"poet": (Reason(cause="asked for", amount=0.5),)}),
        echoes=(),
        resonance=Resonance(),
        reply=Reply(text=reply, receipt=receipt),
    )


class StageSuite:
    """Declarations are right, runs keep to them, odd text never breaks anything, a second run says the same."""

    def make_stage(self) -> Any:
        """A fresh stage, not opened."""
        raise NotImplementedError("return your stage from make_stage()")

    def resources(self) -> Resources:
        """What the stage is opened with; override where it needs a backend, an archive, an encoder or registers."""
        return Resources()

    def scene_for(self, text: str, stage: Any) -> Scene:
        """A scene as this stage would meet it: what it reads is filled, what it writes is not."""
        full = spoken_scene(text)
        return full.with_(**{name: None for name in STAGE_FIELDS if name not in stage.reads})

    def run_stage(self, scene: Scene, stage: Any | None = None) -> Scene:
        """One scene through the stage, checked as the runner checks it.

        Raises:
            ScenepipeError: what the stage raised.
        """
        stage = stage if stage is not None else self.make_stage()
        return asyncio.run(self._run(stage, scene))

    async def _run(self, stage: Any, scene: Scene) -> Scene:
        resources = self.resources()
        for name in ("archive", "backend"):
            opener = getattr(getattr(resources, name), "open", None)
            if opener is not None:
                await (opener() if name == "archive" else opener(resources.model, list(resources.registers.values())))
        if resources.encoder is not None and hasattr(resources.encoder, "open"):
            resources.encoder.open()
        if hasattr(stage, "open"):
            stage.open(resources)
        ctx = Context(resources, run="suite", pipeline="suite", emit=lambda event: None)
        try:
            return await Step("stage", stage, "suite").run(scene, ctx)
        except StageFailed as failed:
            raise failed.error from None

    def test_declares_scene_fields(self) -> None:
        stage = self.make_stage()
        assert set(stage.reads) <= set(STAGE_FIELDS), "reads names fields that a Scene does not have"
        assert set(stage.writes) <= set(STAGE_FIELDS), "writes names fields that a Scene does not have"

    def test_options_are_keyword_only(self) -> None:
        parameters = list(inspect.signature(type(self.make_stage())).parameters.values())
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters), "constructor arguments are keyword-only options"
        assert all(p.annotation is not p.empty for p in parameters), "every option has a type"

    def test_any_text_gives_a_scene(self) -> None:
        for text in TEXTS:
            stage = self.make_stage()
            scene = self.run_stage(self.scene_for(text, stage), stage)
            assert isinstance(scene, Scene)
            assert scene.text == text

    def test_result_survives_json(self) -> None:
        stage = self.make_stage()
        scene = self.run_stage(self.scene_for(TEXTS[0], stage), stage)
        assert Scene.from_json(scene.to_json(vectors=True)) == scene
