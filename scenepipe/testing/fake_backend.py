"""A backend without a model: deterministic, quick, and honest about what it is. For tests, dry runs and benchmarks."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from scenepipe.backends.drawn_tokens import MOST_ALTERNATIVES, check_logprobs
from scenepipe.context import offload
from scenepipe.contracts import AdapterProof, Capabilities, Chunk, DrawnToken, Finish, Request
from scenepipe.errors import BackendError, DeadlineError, MixtureError, did_you_mean
from scenepipe.sampling import check_sampling
from scenepipe.scene import TokenScore, Usage
from scenepipe.testing.fake_model import PIECE, SAMPLING, FakeModel, draw, narrows, sentence
from scenepipe.testing.fake_tools import called
from scenepipe.testing.minimal import minimal_instance
from scenepipe.tools import ToolCall, ToolCallPiece, check_tools

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register


class FakeBackend:
    """Weaves the words of the prompt's linkage into a short sentence in the prompt's language.

    The sentence depends on prompt, mixture, seed and sampling settings alone, so what depends on those can be tested
    without a model. ``temperature`` is 0 or not: 0 takes no notice of the seed. Tokens are words, with the ids of
    `scenepipe.testing.fake_model.token_id`. With ``tools`` switched on it calls those that the user's last words name
    (`scenepipe.testing.fake_tools`).

    Args:
        delay_s: seconds for each word.
        fail_on: a request whose prompt contains this text fails with `BackendError`.
        capabilities: fields of `Capabilities` to change; what is switched off is refused as by a real engine.
        parallel: requests that run at once.
    """

    requires: ClassVar[dict[str, str]] = {}
    name = "fake"

    def __init__(
        self,
        *,
        delay_s: Annotated[float, Field(ge=0.0)] = 0.0,
        fail_on: str | None = None,
        capabilities: dict[str, Any] | None = None,
        parallel: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        self.delay_s = delay_s
        self.fail_on = fail_on
        self.capabilities = Capabilities(
            **{
                "mixtures": ("exact", "premerged"),
                "sampling": SAMPLING,
                "logprobs": MOST_ALTERNATIVES,
                "streaming": True,
                "seed": True,
                "stop": True,
                "json_schema": True,
                "score": True,
                "parallel": parallel,
                **(capabilities or {}),
            }
        )
        self._registers: frozenset[str] | None = None
        self._slots = asyncio.Semaphore(self.capabilities.parallel)

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """Take the registers' names; a proof for each whose adapter file is there, by the file's hash."""
        self._registers = frozenset(register.name for register in registers)
        return await offload(_proofs, model, registers)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream the reply word by word.

        Raises:
            BackendError: not open, ``fail_on``, or a capability that is switched off.
            MixtureError: a register that is not open, or a mode that is switched off.
            DeadlineError: the deadline passed.
        """
        prompt = self._checked(request)
        if request.tools is not None and (calls := called(request.tools, request.messages or (), request.seed)):
            async for chunk in self._call(calls, prompt):
                yield chunk
            return
        timed = self.delay_s > 0 or request.deadline is not None
        async with self._slots:
            started = time.perf_counter()
            tokens = _drawn(request, prompt) if request.logprobs is not None or narrows(request.sampling) else None
            pieces = _pieces(request, prompt) if tokens is None else [token.token for token in tokens]
            reason: Finish = "length" if len(pieces) > request.max_tokens else "stop"
            pieces = pieces[: request.max_tokens]
            for number, piece in enumerate(_until_stop(pieces, request.stop) if request.stop else pieces):
                if timed:
                    await self._pause(request.deadline)
                told = () if tokens is None or request.logprobs is None or piece != pieces[number] else tokens[number]
                yield Chunk(text=piece, logprobs=(told,)) if told else _chunk(piece)
            usage = Usage(
                prompt_tokens=len(prompt.split()), reply_tokens=len(pieces), seconds=time.perf_counter() - started
            )
            yield Chunk(finish_reason=reason, usage=usage)

    async def _call(self, calls: Sequence[ToolCall], prompt: str) -> AsyncIterator[Chunk]:
        """Calls, each begun by its name and told in two pieces of arguments."""
        async with self._slots:
            for index, call in enumerate(calls):
                half = len(call.arguments) // 2
                first = ToolCallPiece(index=index, id=call.id, name=call.name, arguments=call.arguments[:half])
                yield Chunk(tool_calls=(first,))
                await self._pause(None)
                yield Chunk(tool_calls=(ToolCallPiece(index=index, arguments=call.arguments[half:]),))
            usage = Usage(prompt_tokens=len(prompt.split()), reply_tokens=2 * len(calls))
            yield Chunk(finish_reason="tool_calls", usage=usage)

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """The log-probability of each word by which `generate` draws.

        A word that it would not draw there has a made-up one in -8..0, fixed by prompt, mixture and the words up to it.
        """
        prompt = self._checked(request)
        if not self.capabilities.score:
            raise BackendError("this fake backend has 'score' switched off")
        model = FakeModel(prompt, request.plan.used.id)
        state = hashlib.sha256(f"{request.plan.used.id}\n{prompt}".encode())
        scores = []
        for number, piece in enumerate(PIECE.findall(reply)):
            state.update(piece.encode())
            made_up = -8.0 * int.from_bytes(state.digest()[:4], "big") / 2**32
            scores.append(TokenScore(token=piece, logprob=model.logprobs(number).get(piece, made_up)))
        return scores

    async def count(self, text: str) -> int:
        """Words of a text."""
        return len(text.split())

    async def aclose(self) -> None:
        """Forget the registers. Closing again does nothing."""
        self._registers = None

    async def _pause(self, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() + self.delay_s > deadline:
            await asyncio.sleep(max(0.0, deadline - time.monotonic()))
            raise DeadlineError("the deadline passed before the reply was finished; raise deadline_s")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)

    def _checked(self, request: Request) -> str:
        """The request's prompt, when this backend can answer it."""
        if self._registers is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        can, plan = self.capabilities, request.plan
        for name in plan.used.weights:
            if name not in self._registers:
                raise MixtureError(f"register '{name}' is not open; {did_you_mean(name, self._registers)}")
        if plan.used.weights and plan.mode not in ("top1", "refuse", *can.mixtures):
            raise MixtureError(
                f"this backend cannot honour 'mixture: {plan.mode}'; possible: {', '.join(can.mixtures)}"
            )
        if request.json_schema is not None and not can.json_schema:
            raise BackendError("this fake backend has 'json_schema' switched off")
        check_sampling(request.sampling, can.sampling, "this fake backend")
        check_logprobs(request.logprobs, can.logprobs, "this fake backend")
        check_tools(request, can, "this fake backend")
        prompt = _prompt(request, chat=can.chat)
        if self.fail_on is not None and self.fail_on in prompt:
            raise BackendError(f"the prompt contains {self.fail_on!r}, on which this fake backend fails")
        return prompt


@functools.lru_cache(4096)
def _chunk(piece: str) -> Chunk:
    return Chunk(text=piece)


def _prompt(request: Request, *, chat: bool) -> str:
    if (request.prompt is None) == (request.messages is None):
        raise BackendError("a request has a prompt or messages, exactly one of them")
    if request.prompt is not None:
        return request.prompt
    if not chat:
        raise BackendError("this fake backend has 'chat' switched off, so it takes a prompt, not messages")
    return "\n".join(message.content for message in request.messages or ())


def _pieces(request: Request, prompt: str) -> list[str]:
    if request.json_schema is not None:
        return PIECE.findall(json.dumps(minimal_instance(request.json_schema), ensure_ascii=False))
    greedy = request.sampling.temperature == 0
    return PIECE.findall(sentence(prompt, request.plan.used.id, "greedy" if greedy else request.seed))


def _drawn(request: Request, prompt: str) -> list[DrawnToken]:
    """The reply token by token, by the sampling settings."""
    pieces = _pieces(request, prompt)
    if request.json_schema is not None:
        return [DrawnToken(token=piece, logprob=0.0, top=(TokenScore(token=piece, logprob=0.0),)) for piece in pieces]
    return draw(FakeModel(prompt, request.plan.used.id), pieces, request.sampling, request.logprobs or 0)


def _until_stop(pieces: Sequence[str], stop: Sequence[str]) -> list[str]:
    """The pieces up to the first stop string, which itself and what follows are left out."""
    text = "".join(pieces)
    end = min((at for one in stop if one and (at := text.find(one)) >= 0), default=len(text))
    kept, length = [], 0
    for piece in pieces:
        if length >= end:
            break
        kept.append(piece[: end - length])
        length += len(piece)
    return kept


def _proofs(model: LocalModel | None, registers: Sequence[Register]) -> list[AdapterProof]:
    proofs = []
    for register in registers:
        folder = register.adapters.get(model.id) if model else next(iter(register.adapters.values()), None)
        weights = Path(folder) / "adapter_model.safetensors" if folder else None
        if weights is not None and weights.is_file():
            with weights.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            proofs.append(AdapterProof(register_name=register.name, sha256=sha256))
    return proofs
