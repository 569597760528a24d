"""What the tests of ``llm-scene`` share: scripted engines, answers, and one run of the stage beside the rules."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from scenepipe import events as ev
from scenepipe.analysis.lexicon import AXES
from scenepipe.analysis.reading import read_text
from scenepipe.context import Context, Resources
from scenepipe.contracts import AdapterProof, Chunk, Request
from scenepipe.encoders.usem3 import Usem3Encoder
from scenepipe.modules.llm_scene import FALLBACK, LlmScene
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.register import Register
from scenepipe.scene import Scene, Usage, new_scene
from scenepipe.testing.fake_backend import FakeBackend

ENCODER = Usem3Encoder()
RU, EN = "Почему я не чувствую шаг в себе?", "Why can I not feel the step in me?"
GOOD: dict[str, Any] = {
    "words": ["чувствую", "шаг"],
    "symbols": ["тишина", "дрожь", "вход", "жар", "пульс"],
    "chain": ["дрожь", "тишина", "вход"],
    "valence": -4,
    "arousal": 3,
    "dominance": -6,
    "tension": 6,
    "causes": ["question", "negation"],
    "axes": {**dict.fromkeys(AXES, 0), "bodily": 6, "inner": 2},
    "confidence": 8,
}
GOOD_EN = GOOD | {
    "words": ["feel", "step"],
    "symbols": ["silence", "trembling", "entrance", "heat", "pulse"],
    "chain": ["trembling", "silence", "entrance"],
}


def answer(**changes: Any) -> str:
    return json.dumps(GOOD | changes, ensure_ascii=False)


def tokens_of(text: str) -> list[str]:
    """Tokens of the scripted engine: four characters each."""
    return [text[at : at + 4] for at in range(0, len(text), 4)]


class Scripted(FakeBackend):
    """Gives the answers it was told, the last one again and again, and keeps what it was asked."""

    def __init__(self, *answers: str, **options: Any) -> None:
        super().__init__(**options)
        self.answers = answers
        self.asked: list[Request] = []

    async def open(self, model: Any, registers: Any) -> Any:
        await super().open(model, registers)
        return [AdapterProof(register_name=r.name, sha256="a" * 64) for r in registers]

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self._checked(request)
        text = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(request)
        tokens = tokens_of(text)
        for piece in tokens[: request.max_tokens]:
            await self._pause(request.deadline)
            yield Chunk(text=piece)
        cut = len(tokens) > request.max_tokens
        used = Usage(reply_tokens=min(len(tokens), request.max_tokens))
        yield Chunk(finish_reason="length" if cut else "stop", usage=used)


class Seen:
    """One run of the stage: the scene that came out, the rules' scene, warnings and requests."""

    def __init__(self, scene: Scene, ruled: Scene, events: Sequence[ev.Event], asked: Sequence[Request]) -> None:
        self.scene, self.ruled, self.asked = scene, ruled, asked
        self.warnings = [event for event in events if isinstance(event, ev.Warned)]

    @property
    def analysers(self) -> tuple[str, ...]:
        assert self.scene.analysis is not None
        return self.scene.analysis.analysers

    @property
    def fell_back(self) -> bool:
        """The rules' reading stands, field by field, and it is said both ways."""
        same = all(getattr(self.scene, n) == getattr(self.ruled, n) for n in LlmScene.writes - {"analysis"})
        marked = self.analysers[-1] == FALLBACK
        assert same == marked == bool(self.warnings)
        return same

    @property
    def drawn(self) -> list[str]:
        return [s.lemma for s in self.scene.hyperscene or () if s.origin == "model"]


def read(text: str, backend: FakeBackend, stage: LlmScene | None = None, **more: Any) -> Seen:
    stage = stage or LlmScene()
    deadline, budget = more.pop("deadline", None), more.pop("budget", None)
    resources = Resources(backend=backend, encoder=ENCODER, **more)
    scene = given_scene(text)
    events: list[ev.Event] = []
    ctx = Context(resources, run="t", pipeline="t", emit=events.append, deadline=deadline, budget=budget)

    async def run() -> Scene:
        stage.open(resources)
        proofs = await backend.open(None, list(resources.registers.values()))
        resources.proofs = {proof.register_name: proof for proof in proofs}
        return await stage.run(scene, ctx)

    return Seen(asyncio.run(run()), by_rules(text, stage.associations), events, getattr(backend, "asked", ()))


@functools.cache
def by_rules(text: str, associations: int) -> Scene:
    """The same scene as ``rule-scene`` reads it."""
    resources = Resources(encoder=ENCODER)
    stage = RuleScene(associations=associations)
    stage.open(resources)
    ctx = Context(resources, run="t", pipeline="t", emit=lambda event: None)
    return stage.run_batch([given_scene(text)], ctx)[0]


def register(name: str = "reader", kind: Any = "scene") -> Register:
    return Register(name, Path(name), {}, {}, "*", "*", "CC0-1.0", {}, kind=kind)


class Apt(Scripted):
    """Answers in the language of the request, quoting the first word of its text."""

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        asked = quoted_text(request.prompt or "")
        fields = GOOD if "\nОбраз:" in (request.prompt or "") else GOOD_EN
        self.answers = (json.dumps(fields | {"words": [asked.split()[0][:32]]}, ensure_ascii=False),)
        async for chunk in super().generate(request):
            yield chunk


def quoted_text(prompt: str) -> str:
    """The person's text as it stands in a prompt."""
    text: str = json.loads(prompt.splitlines()[-2].partition(": ")[2])
    return text


def schema_of(seen: Seen) -> Any:
    schema = seen.asked[0].json_schema
    assert schema is not None
    return schema["properties"]


def given_scene(text: str) -> Scene:
    return new_scene(text).with_(**read_text(text)._asdict())
