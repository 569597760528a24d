"""``llm-scene``: the SceneBuilder that asks a language model, within a JSON Schema, for what a model can judge.

The rules read every scene first: rhythm, vector and Δ-code are theirs alone. The model's answer replaces associated
symbols, linkage, emotion, tension and axis weights. An answer that is no scene is drawn again, at most ``tries`` times
in all; when none can be taken, the rules' reading stands, a warning says why and ``analysis.analysers`` ends with
``llm-scene@1/fallback``.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from scenepipe import events as ev
from scenepipe.analysis.lexicon import shipped_lexicon
from scenepipe.analysis.model_answer import ANSWER_VERSION, CHAIN, MOST_SYMBOLS, answer_schema, parse_answer
from scenepipe.analysis.model_reading import ModelReading, code_of, judge, vocabulary
from scenepipe.closing import closing
from scenepipe.context import Context, Resources, offload
from scenepipe.contracts import Backend, Request
from scenepipe.errors import BackendError, ConfigError, DeadlineError, Fault, did_you_mean
from scenepipe.folding.named import spoken_back
from scenepipe.mixture import Mixture, of, plan
from scenepipe.modules.rule_scene import RuleScene
from scenepipe.option_ranges import range_faults
from scenepipe.sampling import Sampling
from scenepipe.scene import Analysis, Scene
from scenepipe.scene_prompt import SCENE_PROMPT_VERSION, SceneRequest
from scenepipe.steps import Batcher

NAME = "llm-scene@1"
FALLBACK = f"{NAME}/fallback"
MOST_TRIES = 5
REPAIR_TEMPERATURE = 0.7
"""Of every draw after the first: a greedy answer that was refused would only be given again."""


class LlmScene:
    """Language and symbols to the fields of ``rule-scene``, those that a model can judge from the backend.

    Args:
        associations: associated symbols in the hyperscene, at most; 3 to 12.
        vocabulary: ``open``, any noun that a dictionary knows, or ``lexicon``, the symbol lexicon's nouns alone, which
            keeps a small model to nouns and needs an engine that knows ``prefixItems`` (OpenAI's strict mode does not).
        tries: draws before the rules' reading stands.
        fallback: ``rules``, or ``fail`` the scene where no answer can be taken. A register or model that is refused
            fails the scene in any case: that is a fault of the pipeline.
        adapter: a register of kind ``scene`` that answers, at weight 1; the base model answers without one.
        max_tokens: length of an answer; five symbols take about 150 tokens, twelve about 180.
        temperature: of the first draw; 0 is greedy.
        seed: of the first draw, one more for each further one.
        timeout_s: seconds for all draws of a scene, its turn at the engine included, after which the rules' reading
            stands; the pipeline's own deadline ends the scene in any case.
    """

    reads: ClassVar[frozenset[str]] = RuleScene.reads
    writes: ClassVar[frozenset[str]] = RuleScene.writes
    needs: ClassVar[frozenset[str]] = frozenset({"backend", "encoder"})
    uses: ClassVar[frozenset[str]] = RuleScene.uses
    requires: ClassVar[dict[str, str]] = {}
    explains: ClassVar[bool] = False
    version: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        associations: Annotated[int, Field(ge=CHAIN, le=MOST_SYMBOLS)] = 5,
        vocabulary: Literal["open", "lexicon"] = "open",
        tries: Annotated[int, Field(ge=1, le=MOST_TRIES)] = 2,
        fallback: Literal["rules", "fail"] = "rules",
        adapter: str | None = None,
        max_tokens: Annotated[int, Field(ge=64, le=2048)] = 320,
        temperature: Annotated[float, Field(ge=0.0, le=5.0)] = 0.0,
        seed: Annotated[int, Field(ge=0, lt=2**31)] = 7,
        timeout_s: Annotated[float, Field(gt=0.0)] | None = None,
    ) -> None:
        if faults := range_faults(LlmScene, locals()):
            raise ConfigError(faults, "llm-scene")
        self.associations = associations
        self.vocabulary = vocabulary
        self.tries = tries
        self.fallback = fallback
        self.adapter = adapter
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.seed = seed
        self.timeout_s = timeout_s
        self._rules = RuleScene(associations=associations)
        self._reader = Batcher(self._rules, "llm-scene")

    def _faults(self, resources: Resources) -> list[Fault]:
        """What is wrong with this stage in a pipeline that owns these resources, as far as is known unopened."""
        faults, backend = [], resources.backend
        if backend is not None and not backend.capabilities.json_schema:
            said = f"llm-scene needs a backend that can keep to a JSON Schema, '{backend.name}' cannot; use rule-scene"
            faults.append(Fault("", said))
        readers = {name for name, register in resources.registers.items() if register.kind == "scene"}
        if self.adapter is not None and self.adapter not in readers:
            voice = "is a voice; an adapter for scenes has 'kind: scene' in its card"
            missing = f"is not among 'registers:' of kind scene; {did_you_mean(self.adapter, readers)}"
            said = voice if self.adapter in resources.registers else missing
            faults.append(Fault("adapter", f"'{self.adapter}' {said}"))
        return faults

    def open(self, resources: Resources) -> None:
        """Open the rules.

        Raises:
            ConfigError: the backend cannot keep to a schema, or the adapter is none; a data file is damaged.
        """
        if faults := self._faults(resources):
            raise ConfigError(faults, "llm-scene")
        self._rules.open(resources)

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        """The rules' reading with the model's in the place of what a model can judge."""
        ruled: Scene = await self._reader.submit(scene, ctx)
        told = await self._told(ruled, ctx)
        if isinstance(told, ModelReading):
            return spoken_back(ruled.with_(**vars(told), analysis=self._analysis(ruled, ctx)))
        why = "; ".join(told)
        if self.fallback == "fail":
            raise BackendError(f"the model gave no scene in {self.tries} tries: {why}; 'fallback: rules' goes on")
        message = f"the rules' reading stands, the model gave none: {why}"
        ctx.emit(ev.Warned(run=ctx.run, scene_id=scene.id, stage="llm-scene", message=message))
        return ruled.with_(analysis=_with_analysers(ruled, FALLBACK))

    def preview(self, scene: Scene, ctx: Context) -> dict[str, Any]:
        """What would be asked of a model without a chat template, after the rules have read the scene.

        No archive is asked: it adds associations, and of them a request says nothing.
        """
        alone = Context(Resources(encoder=ctx.encoder), run=ctx.run, pipeline="", emit=ctx.emit)
        ruled = self._rules.run_batch([scene], alone)[0]
        return {
            "prompt_version": SCENE_PROMPT_VERSION,
            "prompt": self._asked(ruled).render(),
            "json_schema": self._schema(ruled),
            "mixture": {self.adapter: 1.0} if self.adapter else {},
            "tries": self.tries,
            "max_tokens": self.max_tokens,
        }

    async def _told(self, ruled: Scene, ctx: Context) -> ModelReading | tuple[str, ...]:
        """The model's reading, or why there is none; an error of the engine ends the tries."""
        if ruled.rhythm is None or ruled.rhythm.words == 0:
            return ("the text has no word on which a reading could rest",)
        try:
            backend = await ctx.backend()
            if not backend.capabilities.json_schema:
                return (f"the backend '{backend.name}' cannot keep to a JSON Schema",)
            return await self._drawn(ruled, ctx, backend)
        except DeadlineError as error:
            if ctx.deadline is not None and time.monotonic() >= ctx.deadline:
                raise
            return (str(error),)
        except BackendError as error:
            return (str(error),)

    async def _drawn(self, ruled: Scene, ctx: Context, backend: Backend) -> ModelReading | tuple[str, ...]:
        """The first answer that can be taken, or what was wrong with the last one."""
        own = time.monotonic() + self.timeout_s if self.timeout_s is not None else None
        until = min((moment for moment in (ctx.deadline, own) if moment is not None), default=None)
        first = await offload(self._request, ruled, ctx, backend, until)
        told: ModelReading | tuple[str, ...] = ()
        for attempt in range(self.tries):
            told = await offload(self._judged, *await _generate(_attempt(first, attempt), backend, ctx), ruled)
            if isinstance(told, ModelReading):
                break
        return told

    def _judged(self, text: str, whole: bool, ruled: Scene) -> ModelReading | tuple[str, ...]:
        answer = parse_answer(text)
        if isinstance(answer, tuple):
            return answer if whole else (f"the answer was cut after max_tokens: {self.max_tokens}; raise it",)
        return judge(answer, ruled, shipped_lexicon(), self.associations)

    def _request(self, scene: Scene, ctx: Context, backend: Backend, until: float | None) -> Request:
        """The first draw; a model with a chat template gets messages, an adapter the prompt that it was trained on."""
        asked, chat = self._asked(scene), backend.capabilities.chat and self.adapter is None
        mixture, modes = of({self.adapter: 1.0}) if self.adapter else Mixture(), backend.capabilities.mixtures
        return Request(
            prompt=None if chat else asked.render(),
            messages=asked.messages() if chat else None,
            plan=plan(mixture, mode="refuse", step=0.0, registers=ctx.registers, can=modes),
            sampling=Sampling(temperature=self.temperature),
            max_tokens=self.max_tokens,
            stop=() if chat else asked.stop,
            seed=self.seed,
            json_schema=self._schema(scene),
            deadline=until,
        )

    def _asked(self, scene: Scene) -> SceneRequest:
        return SceneRequest(scene.text, code_of(scene), symbols=self.associations, examples=self.adapter is None)

    def _schema(self, scene: Scene) -> dict[str, Any]:
        nouns = vocabulary(scene, shipped_lexicon(), self.associations) if self.vocabulary == "lexicon" else None
        return answer_schema(code_of(scene), self.associations, nouns)

    def _analysis(self, ruled: Scene, ctx: Context) -> Analysis:
        """The rules' analysis and everything on which the model's reading hangs."""
        model, names = ctx.resources.model, [f"{NAME}/{self.associations}/{self.vocabulary}", ANSWER_VERSION]
        names.append(f"scene-prompt@{SCENE_PROMPT_VERSION}")
        backend = getattr(ctx.resources.backend, "name", "none")
        names.append(f"model:{model.id}@{model.sha256[:16]}" if model else f"backend:{backend}")
        if self.adapter:
            proof = ctx.resources.proofs.get(self.adapter)
            proven = proof is not None and not proof.zero_effect
            names.append(f"register:{self.adapter}@{proof.sha256[:16] if proof and proven else 'unverified'}")
        names.append(f"draw:t{self.temperature:g}/s{self.seed}/x{self.tries}")
        return _with_analysers(ruled, *names)


async def _generate(request: Request, backend: Backend, ctx: Context) -> tuple[str, bool]:
    """One answer and whether it is whole; the run's budget is charged for what was drawn."""
    ctx.budget.spend(calls=1, tokens=request.max_tokens)
    texts, used, whole = [], request.max_tokens, True
    async with closing(backend.generate(request)) as stream:
        async for chunk in stream:
            texts.append(chunk.text)
            used = chunk.usage.reply_tokens if chunk.usage is not None else used
            whole = whole and chunk.finish_reason != "length"
    ctx.budget.spend(tokens=used - request.max_tokens)
    return "".join(texts), whole


def _attempt(first: Request, number: int) -> Request:
    """The request of a further draw: another seed, and warm enough not to give the same answer."""
    if number == 0:
        return first
    assert first.seed is not None
    warm = max(first.sampling.temperature, REPAIR_TEMPERATURE)
    sampling = first.sampling.model_copy(update={"temperature": warm})
    return first.model_copy(update={"seed": (first.seed + number) % 2**31, "sampling": sampling})


def _with_analysers(scene: Scene, *names: str) -> Analysis:
    analysis = scene.analysis or Analysis()
    return analysis.model_copy(update={"analysers": (*analysis.analysers, *names)})
