"""How replies are made: a scene walks the pipeline, or a prompt passes through to the engine as it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from scenepipe import events as ev
from scenepipe.ask import Ask
from scenepipe.closing import closing
from scenepipe.context import Context
from scenepipe.contracts import Backend, DrawnToken, Encounter, Finish, Message, Request
from scenepipe.mixture import Mixture, MixtureMode, plan
from scenepipe.pipeline import Pipeline
from scenepipe.recall import operation_id
from scenepipe.sampling import Sampling
from scenepipe.scene import Reply, Scene, Usage
from scenepipe.server.hub import Hub
from scenepipe.server.metrics import Metrics
from scenepipe.server.replies import Maker, Result, Voice
from scenepipe.server.tracing import Spans
from scenepipe.tools import ToolCallPiece, joined

DEFAULT_TOKENS = 256
_SIDES = {"user": "User", "assistant": "Assistant"}


@dataclass(frozen=True)
class Made:
    """What every maker needs.

    Args:
        model: who is asked, for figures.
        hub: where the events of runs go that somebody listens to.
    """

    pipeline: Pipeline
    metrics: Metrics
    spans: Spans
    model: str
    hub: Hub = field(default_factory=Hub)

    def counted(self, voice: Voice, result: Result) -> Result:
        """The result, counted."""
        self.metrics.replied(self.model, result.finish, result.usage, voice.first_s, voice.seconds)
        self.spans.replied(self.model, result, voice)
        return result


def of_scene(made: Made, scene: Scene, ask: Ask, *, heard: bool = True) -> Maker:
    """A reply that a scene gets on its way through the whole pipeline.

    Args:
        heard: whether those who listen to its run or chat hear it.
    """

    async def make(voice: Voice) -> Result:
        listener = _Heard(made, voice)
        done = await _walked(made, scene, ask, listener, aloud=heard and made.hub.listened(scene.origin))
        assert done.reply is not None, "checked before the answer began: the pipeline has a stage that replies"
        told = ask.remember and done.reply.answers
        stored = operation_id(done, done.origin.run, "spoken") if told else None
        if ask.remember:
            made.metrics.remembered()
        return made.counted(
            voice,
            Result(
                text=done.reply.text,
                finish=_finish(done.reply),
                usage=done.reply.usage,
                reasoning=done.reply.reasoning or "",
                logprobs=tuple(listener.logprobs),
                tool_calls=done.reply.tool_calls,
                scene=done,
                stored=stored,
            ),
        )

    return make


def _finish(reply: Reply) -> Finish:
    reason = reply.finish_reason
    return reason if reason in ("length", "tool_calls") else "stop"


async def _walked(made: Made, scene: Scene, ask: Ask, listener: _Heard, *, aloud: bool) -> Scene:
    """The scene at its end; ``aloud`` tells all of its events to the hub, which costs every field as JSON."""
    if not aloud:
        return await made.pipeline.arun(scene, ask=ask, emit=listener)
    done = scene
    async for event in made.pipeline.stream(scene, ask=ask):
        listener(event)
        made.hub.publish(scene.origin, event)
        if isinstance(event, ev.RunFinished):
            done = event.scene
    return done


class _Heard:
    """Takes the events of one run: tokens go on to the listener, white space at the end of the reply is held back."""

    def __init__(self, made: Made, voice: Voice) -> None:
        self.logprobs: list[DrawnToken] = []
        self._made = made
        self._voice = voice
        self._blank = ""

    def __call__(self, event: ev.Event) -> None:
        if isinstance(event, ev.Token):
            self._token(event)
        elif isinstance(event, ev.ReplyFinished):
            self._voice.whole = True
        elif isinstance(event, ev.StageFinished):
            self._made.metrics.stage(event.stage, event.seconds)
            self._made.spans.stage(event)

    def _token(self, event: ev.Token) -> None:
        self.logprobs.extend(event.logprobs)
        text = self._blank + event.text
        shown = text.rstrip()
        self._blank = text[len(shown) :]
        if shown or event.reasoning or event.logprobs or event.tool_calls:
            self._voice.say(shown, event.reasoning, event.logprobs, event.tool_calls)


def of_stored(scene: Scene, answer: Encounter) -> Maker:
    """A reply that was given before, to the same request sent again."""

    async def make(voice: Voice) -> Result:
        text = str(answer.data.get("text", ""))
        voice.say(text)
        return Result(text=text, finish="stop", usage=Usage(), scene=scene, stored=answer.id)

    return make


def of_prompt(made: Made, request: Request) -> Maker:
    """A reply to a prompt as it is: no scene is made and nothing is remembered."""

    async def make(voice: Voice) -> Result:
        await made.pipeline.ready()
        backend = made.pipeline.resources.backend
        assert backend is not None, "checked before the answer began"
        return made.counted(voice, await _generated(backend, request, voice))

    return make


async def _generated(backend: Backend, request: Request, voice: Voice) -> Result:
    texts: list[str] = []
    thoughts: list[str] = []
    tokens: list[DrawnToken] = []
    calls: list[ToolCallPiece] = []
    finish: Finish = "stop"
    usage = Usage()
    async with closing(backend.generate(request)) as stream:
        async for chunk in stream:
            if chunk.text or chunk.reasoning or chunk.logprobs or chunk.tool_calls:
                texts.append(chunk.text)
                thoughts.append(chunk.reasoning)
                tokens.extend(chunk.logprobs)
                calls.extend(chunk.tool_calls)
                voice.say(chunk.text, chunk.reasoning, chunk.logprobs, chunk.tool_calls)
            finish = chunk.finish_reason or finish
            usage = chunk.usage or usage
    return Result("".join(texts), finish, usage, "".join(thoughts), tuple(tokens), joined(calls))


class Through:
    """Requests of a pipeline's engine as its own ``decode`` would make them, for prompts that are no scenes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        decode = next((step.stage for step in pipeline.steps if "reply" in step.writes), None)
        self._mode: MixtureMode = getattr(decode, "mode", "exact")
        self._step = getattr(decode, "mixture_step", 0.0)
        self._sampling = getattr(decode, "sampling", Sampling())

    def request(
        self,
        ask: Ask,
        mixture: Mixture | None,
        *,
        prompt: str | None = None,
        messages: tuple[Message, ...] | None = None,
        default_tokens: int = DEFAULT_TOKENS,
    ) -> Request:
        """The request for a prompt, or for messages, which become a prompt where the model has no template for them.

        Raises:
            MixtureError: the engine cannot honour the mixture.
        """
        backend = self._pipeline.resources.backend
        assert backend is not None
        stop = ask.stop
        if messages is not None and not backend.capabilities.chat:
            prompt, stop, messages = as_prompt(messages), (*stop, *(f"\n{side}:" for side in _SIDES.values())), None
        what = plan(
            mixture or Mixture(),
            mode=self._mode,
            step=self._step,
            registers=self._pipeline.resources.registers,
            can=backend.capabilities.mixtures,
        )
        return Request(
            prompt=prompt,
            messages=messages,
            tools=ask.tools,
            plan=what,
            sampling=ask.over(self._sampling),
            max_tokens=ask.max_tokens or default_tokens,
            stop=stop,
            seed=ask.seed,
            json_schema=ask.json_schema,
            logprobs=ask.logprobs,
        )


def as_prompt(messages: tuple[Message, ...]) -> str:
    """Messages as plain text that a model without a template goes on with."""
    lines = [m.content if m.role == "system" else f"{_SIDES[m.role]}: {m.content}" for m in messages]
    return "\n".join(lines if messages[-1].role == "assistant" else [*lines, "Assistant:"])


def preview_context(pipeline: Pipeline, run: str) -> Context:
    """A context for stages that are asked outside of a run."""
    return Context(pipeline.resources, run=run, pipeline=pipeline.name, emit=lambda event: None)
