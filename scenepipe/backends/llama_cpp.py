"""llama.cpp in process (`xllamacpp`): exact weighted mixtures of registers, per request."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scenepipe.backends.canary import CANARY_PROMPT, LIKELIEST, proofs_by_likeliest
from scenepipe.backends.drawn_tokens import MOST_ALTERNATIVES, check_bias, check_logprobs
from scenepipe.backends.grouping import MixtureSlots
from scenepipe.backends.llama_engine import EngineOptions, LlamaEngine, has_chat_template, within
from scenepipe.backends.llama_reply import (
    SAMPLING,
    LlamaReply,
    completion,
    distribution,
    forced_score,
    forced_token,
    next_token,
)
from scenepipe.backends.llama_vocabulary import LlamaVocabulary
from scenepipe.context import offload
from scenepipe.contracts import AdapterProof, Capabilities, Chunk, Request
from scenepipe.errors import BackendError, ConfigError
from scenepipe.mixture import Plan, check_plan
from scenepipe.option_ranges import range_faults
from scenepipe.sampling import check_sampling
from scenepipe.scene import TokenScore
from scenepipe.tools import check_tools

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register


class LlamaCpp:
    """The default engine: one base model, all its registers loaded, each request with its own mixture.

    Weights are honoured exactly: llama.cpp adds ``w1*dW1 + w2*dW2 + ...`` for the request. Requests of one mixture
    share a batch, different mixtures take turns (`MixtureSlots`), and no prompt cache outlives a request.

    ``capabilities.chat`` becomes true when an open model brings a chat template.

    A seed fixes the reply when the request runs alone. In a batch with others, matrix products are summed in another
    order, so a near tie between two tokens may fall the other way.

    Presence and frequency penalties count the reply alone; a token that the prompt has is given no presence penalty,
    because llama.cpp cannot tell the two apart. A character that several tokens share is told with the probability of
    the last of them.

    Args:
        context: tokens of prompt and reply together, per request.
        parallel: requests that run at once; the engine holds memory for ``context * parallel`` tokens, 18 kB each
            for the default model. On two cores 8 at once say about twice as much a second as 1.
        threads: CPU threads; None is the number of physical cores. Fewer are faster on a machine busy with other work.
        gpu_layers: layers kept on the GPU; 0 none, -1 all. Needs an xllamacpp wheel built for the GPU.
        tensor_split: share of the model for each GPU, in their order.
        main_gpu: GPU for what is not split.
        batch: prompt tokens read between two looks at cancellations: 256 take 0.5 s on two cores, and 512 read a
            long prompt no faster there.
        ubatch: tokens of one computation, at most ``batch``.
        flash_attention: ``auto``, ``on`` or ``off``.
        kv_type: type of the attention cache; the quantised ones need flash attention.
        mmap: map the weights file instead of reading it.
        mlock: keep the weights in memory.
        swa_full: keep the whole context of sliding-window layers (Gemma), which `score` needs to go on from
            token to token; false saves memory and makes `score` read its prompt again for each token.
        mixture_wait_s: seconds for which one mixture is fed while another waits.

    Raises:
        ConfigError: an option is outside its range; names all of them.
    """

    requires: ClassVar[dict[str, str]] = {"xllamacpp": "local"}
    name = "llama-cpp"

    def __init__(
        self,
        *,
        context: Annotated[int, Field(ge=64)] = 2048,
        parallel: Annotated[int, Field(ge=1)] = 8,
        threads: Annotated[int, Field(ge=1)] | None = None,
        gpu_layers: Annotated[int, Field(ge=-1)] = 0,
        tensor_split: Sequence[float] = (),
        main_gpu: Annotated[int, Field(ge=0)] = 0,
        batch: Annotated[int, Field(ge=1)] = 256,
        ubatch: Annotated[int, Field(ge=1)] = 256,
        flash_attention: Literal["auto", "on", "off"] = "auto",
        kv_type: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = "f16",
        mmap: bool = True,
        mlock: bool = False,
        swa_full: bool = True,
        mixture_wait_s: Annotated[float, Field(ge=0.0)] = 2.0,
    ) -> None:
        if faults := range_faults(LlamaCpp, locals()):
            raise ConfigError(faults, "backend llama-cpp")
        self.options = EngineOptions(
            context=context,
            parallel=parallel,
            threads=threads,
            gpu_layers=gpu_layers,
            tensor_split=tuple(tensor_split),
            main_gpu=main_gpu,
            batch=batch,
            ubatch=min(ubatch, batch),
            flash_attention=flash_attention,
            kv_type=kv_type,
            mmap=mmap,
            mlock=mlock,
            swa_full=swa_full,
        )
        self._mixture_wait_s = mixture_wait_s
        self._engine: LlamaEngine | None = None
        self._registers: tuple[str, ...] = ()
        self._slots = MixtureSlots(parallel, wait_s=mixture_wait_s)
        self._fits = context
        self._vocabulary = 0
        self.capabilities = Capabilities(
            mixtures=("exact",),
            sampling=SAMPLING,
            logprobs=MOST_ALTERNATIVES,
            streaming=True,
            seed=True,
            stop=True,
            json_schema=True,
            score=True,
            parallel=parallel,
        )

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """Load the model with an adapter for each register, and see that each changes the next-token distribution.

        Raises:
            BackendError: no model, or the engine refuses the model or an adapter.
            RegisterError: a register has no fitting adapter for this model.
        """
        if self._engine is not None:
            raise BackendError("this backend is open already; close it first, or make a second one")
        if model is None:
            raise BackendError("llama-cpp needs a model; name one with 'model:', for example gemma-3-270m")
        hashes, adapters = await offload(_adapters, registers, model)
        self._engine = await offload(LlamaEngine, self.options, _readable(model.gguf), adapters)
        self._words = LlamaVocabulary(self._engine.post)
        self._registers = tuple(register.name for register in registers)
        self._slots = MixtureSlots(self.options.parallel, wait_s=self._mixture_wait_s)
        self.capabilities = self.capabilities.model_copy(update={"chat": await offload(has_chat_template, model.gguf)})
        try:
            settings = (await self._engine.get("/props"))["default_generation_settings"]
            self._fits = int(settings["n_ctx"])
            self._vocabulary = int((await self._engine.get("/v1/models"))["data"][0]["meta"]["n_vocab"])
            return await proofs_by_likeliest(self._canary, hashes)
        except BaseException:
            await self.aclose()
            raise

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream one reply. Closing or dropping the iterator stops the engine within about a second and one batch.

        Raises:
            BackendError: the prompt does not fit the context, messages without a chat template, the engine's refusal.
            MixtureError: a register that is not open, or a mode that this engine has not.
            DeadlineError: the deadline passed, waiting for a slot or during the reply.
        """
        engine = self._opened()
        check_sampling(request.sampling, self.capabilities.sampling, self.name)
        check_logprobs(request.logprobs, self.capabilities.logprobs, self.name)
        check_tools(request, self.capabilities, self.name)
        check_bias(request.sampling.logit_bias, self._vocabulary, self.name)
        scales = self._scales(request.plan)
        prompt = await self._prompt(engine, request)
        async with AsyncExitStack() as stack:
            slot = await within(request.deadline, stack.enter_async_context(self._slots.slot(scales)))
            started = time.perf_counter()
            body = completion(request, prompt, scales, slot)
            events = await stack.enter_async_context(aclosing(engine.stream(body, request.deadline)))
            reply = LlamaReply(self._words, request, scales, request.deadline)
            async for event in events:
                chunk = await reply.chunk(event, time.perf_counter() - started)
                if chunk is not None:
                    yield chunk
                if event["stop"]:
                    return
        raise BackendError("llama.cpp ended the reply without its last event; open it again")

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """Natural-log probability of each token of ``reply`` after the request's prompt, under its mixture.

        One forced token per request to the engine, each going on from the last one's cache in the same slot. The
        figures come from the raw logits, before any sampling. Probabilities under 2**-149, which a float32 cannot
        hold, count as 2**-149.

        Raises:
            BackendError, MixtureError, DeadlineError: as `generate`.
        """
        engine = self._opened()
        scales = self._scales(request.plan)
        prompt = await self._prompt(engine, request)
        pieces = await self._words.pieces(reply, request.deadline)
        self._must_fit(len(prompt) + len(pieces), "prompt and reply have")
        scores: list[TokenScore] = []
        async with AsyncExitStack() as stack:
            slot = await within(request.deadline, stack.enter_async_context(self._slots.slot(scales)))
            for token, text in pieces:
                body = {**forced_token(prompt, token, scales), "id_slot": slot, "cache_prompt": bool(scores)}
                scores.append(
                    forced_score(await engine.post("/completion", body, deadline=request.deadline), token, text)
                )
                prompt = [*prompt, token]
        return scores

    async def count(self, text: str) -> int:
        """Tokens of a text, without any beginning-of-text token."""
        self._opened()
        return len(await self._words.tokens(text, special=False))

    async def aclose(self) -> None:
        """End the engine; replies in flight fail. Closing again does nothing."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.aclose()

    def _opened(self) -> LlamaEngine:
        if self._engine is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        return self._engine

    def _scales(self, plan: Plan) -> tuple[float, ...]:
        """The weight of every open register, in order: llama.cpp takes one that is left out for "as before"."""
        check_plan(plan, self._registers, self.capabilities.mixtures, self.name)
        return tuple(plan.used.weights.get(name, 0.0) for name in self._registers)

    async def _prompt(self, engine: LlamaEngine, request: Request) -> list[int]:
        if (request.prompt is None) == (request.messages is None):
            raise BackendError("a request has a prompt or messages, exactly one of them")
        if request.prompt is not None:
            tokens = await self._words.tokens(request.prompt, special=True, deadline=request.deadline)
        elif not self.capabilities.chat:
            raise BackendError("this model has no chat template, so it takes a prompt, not messages")
        else:
            messages = [message.wire() for message in request.messages or ()]
            text = (await engine.post("/apply-template", {"messages": messages}, deadline=request.deadline))["prompt"]
            body = {"content": text, "add_special": True, "parse_special": True}
            tokens = (await engine.post("/tokenize", body, deadline=request.deadline))["tokens"]
        self._must_fit(len(tokens) + 1, "prompt and one token of reply have")
        return tokens

    def _must_fit(self, tokens: int, what: str) -> None:
        if tokens > self._fits:
            raise BackendError(
                f"{what} {tokens} tokens and {self._fits} fit; raise backend.context (now {self.options.context}), "
                "recall fewer echoes, or shorten the text"
            )

    async def _canary(self, register: str | None) -> dict[int, float]:
        engine = self._opened()
        scales = tuple(float(name == register) for name in self._registers)
        prompt = await self._words.tokens(CANARY_PROMPT, special=True)
        told = distribution(await engine.post("/completion", next_token(prompt, scales, LIKELIEST)))
        return {int(token["id"]): float(token["logprob"]) for token in told["top_logprobs"]}


def _readable(gguf: Path) -> Path:
    """The weights file, seen to be there and to be a GGUF."""
    try:
        with gguf.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise BackendError(f"the model file {gguf} cannot be read ({error.strerror}); pull the model again") from None
    if magic != b"GGUF":
        raise BackendError(f"{gguf} is not a GGUF file: it starts with {magic!r}; pull the model again")
    return gguf


def _adapters(registers: Sequence[Register], model: LocalModel) -> tuple[dict[str, str], list[Path]]:
    """Hash of each register's adapter, and its GGUF form."""
    if not registers:
        return {}, []
    from scenepipe.models.gguf_lora import gguf_adapter
    from scenepipe.register import adapter_of

    hashes = {register.name: adapter_of(register, model).sha256 for register in registers}
    return hashes, [gguf_adapter(register, model) for register in registers]
