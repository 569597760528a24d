"""``decode``: the mixture speaks the scene.

Makes the scene prompt, asks the backend with the scene's mixture, streams tokens as events, and writes the reply with
the receipt of what actually spoke.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from scenepipe import events as ev
from scenepipe.choose import parts_of, score_of
from scenepipe.closing import closing
from scenepipe.context import Context
from scenepipe.contracts import Backend, DrawnToken, Finish, Request
from scenepipe.errors import BackendError
from scenepipe.fitting import fitting, newest
from scenepipe.mixture import Mixture, MixtureMode, Plan, ReceiptMode, plan
from scenepipe.prompt import PROMPT_VERSION, ScenePrompt, echo_line, one_line, prompt_sha256, style_line, turn_line
from scenepipe.sampling import (
    Beams,
    Effort,
    LogitBias,
    MinP,
    Penalty,
    RepeatPenalty,
    Sampling,
    Temperature,
    TopK,
    TopP,
)
from scenepipe.scene import (
    AdapterReceipt,
    Candidate,
    Echo,
    Receipt,
    Reply,
    Scene,
    Segment,
    TokenScore,
    Turn,
    Usage,
)
from scenepipe.tools import ToolCallPiece, joined

_FOLDERS = re.compile(r".*[/\\](?=.)", re.DOTALL)
_LONGEST_NAME = 60
NO_SCENE_PROMPT = 0
"""The prompt's version in the receipt of a reply to messages."""
EMPTY_TRIES = 3
"""Draws with new seeds before an empty reply is an error: a small base may end at once on one seed in some hundred."""


class Decode:
    """Scene to reply.

    What the caller of a run asks for (``ctx.ask``) goes before the options here. Where it brings messages, which tools need,
    they are spoken to through the model's own chat template and there is no scene prompt; ``candidates``, ``echoes``, and the
    tokens of turns and style then have no meaning.

    Args:
        mixture: how the engine must honour the mixture: exact, premerged, top1 or refuse.
        mixture_step: grid that weights snap to, so that mixtures recur and can be grouped; 0 keeps them as they are.
        max_tokens: length of the reply.
        temperature: 0 is greedy.
        top_p: nucleus sampling.
        top_k: 0 switches it off.
        min_p: tokens less likely than this share of the likeliest are left out.
        repeat_penalty: 1 switches it off; well above 1.05 breaks Russian word endings.
        presence_penalty: taken from the logit of every token that the reply has.
        frequency_penalty: taken from a token's logit once for each time that the reply has it.
        logit_bias: token id to what is added to its logit; -100 forbids it.
        beams: width of a beam search, on engines that have one; 1 draws.
        watermark: mark the reply, on engines that can.
        reasoning_effort: of models that reason before they reply.
        candidates: replies drawn in one batch; the best by `scenepipe.choose` is kept, nothing streams before that.
        echoes: recalled scenes named in the prompt, at most; a part of a document with the name of its source.
        echo_tokens: tokens that their lines may take together; one that is longer is cut at a word.
        turn_tokens: tokens that the lines of the chat's earlier turns may take together; the oldest go first.
        style_tokens: tokens that the style asked for by the caller (a system prompt) may take; a longer one is cut at a word.
        seed: of the first candidate; drawn at random when not given, and written into the receipt.
        stop: strings that end a reply, besides the template's own.
        json_schema: the reply must be JSON of this schema.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"language", "linkage", "registers"})
    writes: ClassVar[frozenset[str]] = frozenset({"reply"})
    needs: ClassVar[frozenset[str]] = frozenset({"backend", "encoder"})
    explains: ClassVar[bool] = False
    version: ClassVar[str] = "1"

    def __init__(
        self,
        *,
        mixture: MixtureMode = "exact",
        mixture_step: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1,
        max_tokens: Annotated[int, Field(ge=1, le=8192)] = 80,
        temperature: Temperature = 0.7,
        top_p: TopP = 0.95,
        top_k: TopK = 40,
        min_p: MinP = 0.05,
        repeat_penalty: RepeatPenalty = 1.0,
        presence_penalty: Penalty = 0.0,
        frequency_penalty: Penalty = 0.0,
        logit_bias: LogitBias | None = None,
        beams: Beams = 1,
        watermark: bool = False,
        reasoning_effort: Effort | None = None,
        candidates: Annotated[int, Field(ge=1, le=32)] = 1,
        echoes: Annotated[int, Field(ge=0, le=10)] = 1,
        echo_tokens: Annotated[int, Field(ge=1)] = 48,
        turn_tokens: Annotated[int, Field(ge=0)] = 192,
        style_tokens: Annotated[int, Field(ge=0)] = 128,
        seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None,
        stop: list[str] | None = None,
        json_schema: dict[str, Any] | None = None,
    ) -> None:
        self.mode: MixtureMode = mixture
        self.mixture_step = mixture_step
        self.max_tokens = max_tokens
        self.sampling = Sampling(
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            logit_bias=logit_bias or {},
            beams=beams,
            watermark=watermark,
            reasoning_effort=reasoning_effort,
        )
        self.candidates = candidates
        self.echoes = echoes
        self.echo_tokens = echo_tokens
        self.turn_tokens = turn_tokens
        self.style_tokens = style_tokens
        self.seed = seed
        self.stop = tuple(stop or ())
        self.json_schema = json_schema

    async def run(self, scene: Scene, ctx: Context) -> Scene:
        """Speak the scene."""
        backend = await ctx.backend()
        what = plan(
            scene.registers or Mixture(),
            mode=self.mode,
            step=self.mixture_step,
            registers=ctx.registers,
            can=backend.capabilities.mixtures,
        )
        ask = ctx.ask
        prompt = None if ask.messages is not None else await self._prompt(scene, ctx, backend)
        request = Request(
            prompt=None if prompt is None else prompt.render(),
            messages=ask.messages,
            tools=ask.tools,
            plan=what,
            sampling=ask.over(self.sampling),
            max_tokens=ask.max_tokens or self.max_tokens,
            stop=(*(() if prompt is None else prompt.stop), *self.stop, *ask.stop),
            json_schema=self.json_schema if ask.json_schema is None else ask.json_schema,
            logprobs=ask.logprobs,
            deadline=ctx.deadline,
        )
        drawn = await self._draw(scene, request, backend, ctx)
        reply = _reply(drawn, request, _receipt(backend, ctx, what, request, drawn))
        ctx.emit(ev.ReplyFinished(run=ctx.run, scene_id=scene.id, reply=reply))
        return scene.with_(reply=reply)

    def preview(self, scene: Scene, ctx: Context) -> dict[str, Any]:
        """What would be sent: the plan and the prompt. Echoes and turns may still be cut to their tokens."""
        asked = scene.registers or Mixture()
        what = plan(asked, mode=self.mode, step=self.mixture_step, registers=ctx.registers, can=(self.mode,))
        echoes = [_told(echo, echo.text) for echo in _others(scene)[: self.echoes]]
        prompt = _prompt(scene, echoes, _said(scene.turns or ()) if self.turn_tokens else ())
        return {
            "mixture": {
                "mode": what.mode,
                "asked": what.asked.weights,
                "used": what.used.weights,
                "base": what.used.base,
            },
            "prompt_version": PROMPT_VERSION,
            "prompt": prompt.render(),
            "max_tokens": self.max_tokens,
            "candidates": self.candidates,
        }

    async def _prompt(self, scene: Scene, ctx: Context, backend: Backend) -> ScenePrompt:
        """The scene prompt, with what fits of echoes, turns and style."""
        echoes, turns = await self._fitting_echoes(scene, backend), await self._fitting_turns(scene, backend)
        return _prompt(scene, echoes, turns, await self._fitting_style(scene, ctx, backend))

    async def _fitting_echoes(self, scene: Scene, backend: Backend) -> list[str]:
        """The strongest echoes whole, the first that is too long cut."""

        left, kept, language = self.echo_tokens, [], _language(scene)
        for echo in _others(scene)[: self.echoes]:

            async def count(text: str, echo: Echo = echo) -> int:
                return await backend.count(echo_line(_told(echo, text), language) + "\n")

            shown = await fitting(echo.text, left, count)
            if shown is not None:
                left -= await count(shown)
                kept.append(_told(echo, shown))
            if shown != echo.text:
                break
        return kept

    async def _fitting_style(self, scene: Scene, ctx: Context, backend: Backend) -> str:
        """As much of the caller's style as fits."""
        if not ctx.ask.style:
            return ""
        language = _language(scene)

        async def count(text: str) -> int:
            return await backend.count(style_line(text, language) + "\n")

        return await fitting(one_line(ctx.ask.style), self.style_tokens, count) or ""

    async def _fitting_turns(self, scene: Scene, backend: Backend) -> list[str]:
        """The newest turns whole; where not even the last one fits, its text and its reply are cut to half each."""

        async def count(text: str) -> int:
            return await backend.count(turn_line(text, language) + "\n")

        async def cost(turn: Turn) -> int:
            return sum([await count(text) for text in _said([turn])])

        turns, language = scene.turns or (), _language(scene)
        whole = await newest(turns, self.turn_tokens, cost)
        if whole or not turns:
            return _said(whole)
        said = _said(turns[-1:])
        shown = [await fitting(text, self.turn_tokens // len(said), count) for text in said]
        return [text for text in shown if text is not None]

    async def _draw(self, scene: Scene, request: Request, backend: Backend, ctx: Context) -> list[_Drawn]:
        """Candidates, best first."""
        given = self.seed if ctx.ask.seed is None else ctx.ask.seed
        first = secrets.randbelow(2**31 - 1) if given is None else given
        if self.candidates == 1 or request.messages is not None:
            return [await self._one(request, first, backend, ctx, scene.id, loud=True)]
        seeds = [(first + n) % 2**31 for n in range(self.candidates)]
        results = await _together([self._one(request, seed, backend, ctx, scene.id, loud=False) for seed in seeds])
        language = scene.language.code if scene.language else "und"
        chain = scene.linkage.unfolds if scene.linkage else ()
        drawn = []
        for result in results:
            parts = await asyncio.to_thread(
                parts_of, result.text, text=scene.text, linkage=chain, language=language, encoder=ctx.encoder
            )
            drawn.append(result.judged(parts))
        drawn.sort(key=lambda d: (-d.score, d.seed))
        ctx.emit(_token(ctx, scene.id, drawn[0].text, drawn[0].reasoning, tuple(drawn[0].tokens)))
        return drawn

    async def _one(
        self, request: Request, seed: int, backend: Backend, ctx: Context, scene_id: str, *, loud: bool
    ) -> _Drawn:
        for attempt in range(EMPTY_TRIES):
            own = request.model_copy(update={"seed": (seed + attempt * 7919) % 2**31})
            ctx.budget.spend(calls=1, tokens=request.max_tokens)
            drawn = await _generate(own, backend, ctx, scene_id, loud=loud)
            ctx.budget.spend(tokens=drawn.usage.reply_tokens - request.max_tokens)
            if drawn.text or drawn.tool_calls:
                return drawn
        if ctx.ask.stop or ctx.ask.max_tokens is not None:  # the caller's own bounds may leave nothing
            return drawn
        raise BackendError(
            f"the mixture {request.plan.used.id} ended its reply at once, {EMPTY_TRIES} times; "
            "give another seed, a higher temperature or more weight to a register"
        )


class _Drawn:
    """One reply as it came, with the score that judged it."""

    def __init__(
        self,
        text: str,
        seed: int,
        finish: Finish,
        usage: Usage,
        reasoning: str = "",
        tokens: Sequence[DrawnToken] = (),
        calls: Sequence[ToolCallPiece] = (),
    ) -> None:
        self.text = text
        self.reasoning = reasoning
        self.tokens = tokens
        self.seed = seed
        self.tool_calls = joined(calls)
        self.finish: Finish = finish
        self.usage = usage
        self.parts: dict[str, float] = {}
        self.score = 0.0

    def judged(self, parts: dict[str, float]) -> _Drawn:
        self.parts = parts
        self.score = score_of(parts)
        return self


async def _together(draws: Sequence[Coroutine[Any, Any, _Drawn]]) -> list[_Drawn]:
    """All results, or the first error with the other draws cancelled."""
    tasks = [asyncio.create_task(draw) for draw in draws]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _generate(request: Request, backend: Backend, ctx: Context, scene_id: str, *, loud: bool) -> _Drawn:
    texts: list[str] = []
    thoughts: list[str] = []
    tokens: list[DrawnToken] = []
    calls: list[ToolCallPiece] = []
    told = 0
    finish: Finish = "stop"
    usage = Usage()
    async with closing(backend.generate(request)) as stream:
        async for chunk in stream:
            shown = chunk.text if texts else chunk.text.lstrip()
            if shown:
                texts.append(shown)
            if chunk.reasoning:
                thoughts.append(chunk.reasoning)
            tokens.extend(chunk.logprobs)
            calls.extend(chunk.tool_calls)
            if loud and (shown or chunk.reasoning or chunk.tool_calls):
                ctx.emit(_token(ctx, scene_id, shown, chunk.reasoning, tuple(tokens[told:]), chunk.tool_calls))
                told = len(tokens)
            finish = chunk.finish_reason or finish
            usage = chunk.usage or usage
    assert request.seed is not None
    return _Drawn("".join(texts).rstrip(), request.seed, finish, usage, "".join(thoughts).strip(), tokens, calls)


def _token(
    ctx: Context,
    scene_id: str,
    text: str,
    reasoning: str = "",
    logprobs: tuple[DrawnToken, ...] = (),
    calls: tuple[ToolCallPiece, ...] = (),
) -> ev.Token:
    return ev.Token(run=ctx.run, scene_id=scene_id, text=text, reasoning=reasoning, logprobs=logprobs, tool_calls=calls)


def _prompt(scene: Scene, echoes: Sequence[str], turns: Sequence[str], style: str = "") -> ScenePrompt:
    return ScenePrompt(
        text=scene.text,
        language=_language(scene),
        linkage=scene.linkage.unfolds if scene.linkage else (),
        echoes=echoes,
        turns=turns,
        style=style,
    )


def _language(scene: Scene) -> str:
    return scene.language.code if scene.language else "und"


def _others(scene: Scene) -> list[Echo]:
    """Echoes other than the scene itself and what its chat's turns say already, strongest first."""
    told = {scene.id, *(turn.scene_id for turn in scene.turns or ())}
    return [echo for echo in scene.echoes or () if echo.scene_id not in told]


def _told(echo: Echo, text: str) -> str:
    """The text of an echo; what was read begins with the name of its source, without the folders it lies in."""
    if echo.source is None:
        return text
    return f"{one_line(_FOLDERS.sub('', echo.source))[:_LONGEST_NAME]}: {text}"


def _said(turns: Sequence[Turn]) -> list[str]:
    return [text for turn in turns for text in (turn.text, turn.reply) if text]


def _receipt(backend: Backend, ctx: Context, what: Plan, request: Request, drawn: Sequence[_Drawn]) -> Receipt:
    proofs = ctx.resources.proofs
    proven = all(n in proofs and not proofs[n].zero_effect for n in what.used.weights)
    mode: ReceiptMode = ("exact" if what.mode == "refuse" else what.mode) if proven else "unverified"
    model = ctx.resources.model
    return Receipt(
        backend=backend.name,
        model=model.id if model else backend.name,
        model_sha256=model.sha256 if model else None,
        mode=mode,
        asked=dict(what.asked.weights),
        used=dict(what.used.weights),
        adapters=tuple(
            AdapterReceipt(register_name=n, sha256=proofs[n].sha256, weight=w)
            for n, w in what.used.weights.items()
            if n in proofs
        ),
        prompt_version=NO_SCENE_PROMPT if request.prompt is None else PROMPT_VERSION,
        prompt_sha256=prompt_sha256(_told_to(request)),
        seed=drawn[0].seed,
        sampling=request.sampling.told(),
        candidates=tuple(
            Candidate(text=d.text, seed=d.seed, score=d.score, parts=d.parts, chosen=d is drawn[0])
            for d in (drawn if len(drawn) > 1 else ())
        ),
    )


def _told_to(request: Request) -> str:
    """The prompt, or the messages with their tools as JSON."""
    if request.prompt is not None:
        return request.prompt
    return request.model_dump_json(include={"messages", "tools"})


def _reply(drawn: Sequence[_Drawn], request: Request, receipt: Receipt) -> Reply:
    best, used = drawn[0], request.plan.used.weights
    lead = max(used, key=lambda n: (used[n], n), default="base")
    return Reply(
        text=best.text,
        alternatives=tuple(d.text for d in drawn[1:]),
        segments=(Segment(span=(0, len(best.text)), register_name=lead),) if best.text else (),
        reasoning=best.reasoning or None,
        logprobs=tuple(TokenScore(token=t.token, logprob=t.logprob) for t in best.tokens),
        tool_calls=best.tool_calls,
        finish_reason=best.finish,
        usage=best.usage,
        receipt=receipt,
    )
