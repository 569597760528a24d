"""Transformers in process: a bank of registers beside any base, a mixture of its own for each row of the batch."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from scenepipe.backends import json_grammar
from scenepipe.backends.canary import CANARY_PROMPT
from scenepipe.backends.drawn_tokens import MOST_ALTERNATIVES, check_bias, check_logprobs
from scenepipe.backends.llama_engine import within
from scenepipe.backends.quantization import Quantization
from scenepipe.context import offload
from scenepipe.contracts import AdapterProof, Capabilities, Chunk, Request
from scenepipe.errors import BackendError, ConfigError, Fault
from scenepipe.mixture import Plan, check_plan
from scenepipe.option_ranges import range_faults
from scenepipe.sampling import COMMON, check_sampling
from scenepipe.scene import TokenScore
from scenepipe.tools import check_tools

if TYPE_CHECKING:
    from scenepipe.backends.transformers_engine import TransformersEngine
    from scenepipe.models.adapter import Adapter
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register


class Transformers:
    """Any model that Transformers loads, full or quantised, on CPU and GPU; one batch for all mixtures.

    All registers' LoRA halves are stacked beside each layer (`scenepipe.backends.bank`), and every row of the batch has
    a weight for each: requests of different mixtures run together as fast as requests of one. Requests join and leave
    the batch between two tokens.

    ``capabilities.chat`` becomes true when an open model brings a chat template. A JSON Schema needs the package
    ``llguidance``, which comes with the extra.

    A row draws with random numbers of its own, so its reply depends on its seed and not on its neighbours, up to the
    last digits of matrix products that another batch size sums in another order.

    Args:
        context: tokens of prompt and reply together, per request.
        parallel: requests that run at once. More are faster in all and slower for each.
        max_batch_tokens: prompt tokens read between two steps of those that are speaking already.
        weights: folder with the same model as Transformers saves it, such as a GPTQ or AWQ checkpoint; None: made once
            from the model's GGUF and kept.
        dtype: what is computed in; ``auto`` is bfloat16 where the device has it, else float16 on a GPU, float32 on a
            CPU.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, …
        device_map: spread the model over devices, RAM and disk, as Accelerate does: ``auto``, ``balanced``,
            ``sequential``, or a device for each module. Takes the place of ``device``.
        max_memory: by device number or ``cpu``, such as ``{"0": 20GiB, cpu: 60GiB}``; for ``device_map``.
        offload_folder: where weights on disk are kept that the model's own files do not hold in the form it computes
            with, such as merged experts; for ``device_map``.
        quantization: ``method`` and its keys: bitsandbytes-4bit, bitsandbytes-8bit, gptq, awq or gguf.
        attention: ``sdpa`` or ``eager``; ``auto`` takes the first of them that the model has.
        threads: CPU threads of a pass; None is torch's number.

    Raises:
        ConfigError: an option is outside its range; names all of them.
    """

    requires: ClassVar[dict[str, str]] = {"torch": "transformers", "transformers": "transformers"}
    name = "transformers"

    def __init__(
        self,
        *,
        context: Annotated[int, Field(ge=64)] = 2048,
        parallel: Annotated[int, Field(ge=1)] = 32,
        max_batch_tokens: Annotated[int, Field(ge=16)] = 512,
        weights: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        device: str = "auto",
        device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | dict[str, str | int] | None = None,
        max_memory: dict[str, str] | None = None,
        offload_folder: str | None = None,
        quantization: Quantization | None = None,
        attention: Literal["auto", "sdpa", "eager"] = "auto",
        threads: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        faults = range_faults(Transformers, locals())
        self.context = context
        self.parallel = parallel
        self.max_batch_tokens = max_batch_tokens
        self.weights = weights
        self.dtype = dtype
        self.device = device
        self.device_map = device_map
        self.max_memory = max_memory
        self.offload_folder = offload_folder
        self.quantization = quantization
        self.attention = attention
        self.threads = threads
        if faults := faults + _meaningless(self):
            raise ConfigError(faults, "backend transformers")
        self._engine: TransformersEngine | None = None
        self._registers: tuple[str, ...] = ()
        self.capabilities = Capabilities(
            mixtures=("exact",),
            sampling=(*COMMON, "presence_penalty", "frequency_penalty", "logit_bias"),
            logprobs=MOST_ALTERNATIVES,
            streaming=True,
            seed=True,
            stop=True,
            json_schema=json_grammar.INSTALLED,
            score=True,
            parallel=parallel,
        )

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """Load the model with a bank of these registers, and see that each changes the next-token distribution.

        Raises:
            BackendError: no model, or it cannot be loaded as the options say.
            RegisterError: a register has no fitting adapter for this model.
            MissingExtraError: torch, Transformers or Accelerate is not installed.
        """
        if self._engine is not None:
            raise BackendError("this backend is open already; close it first, or make a second one")
        if model is None:
            raise BackendError("transformers needs a model; name one with 'model:', for example gemma-3-270m")
        adapters = await offload(_adapters, registers, model)
        engine = await offload(self._start, model, adapters)
        try:
            zero = await asyncio.wrap_future(engine.prove(CANARY_PROMPT))
        except BaseException:
            await offload(engine.close)
            raise
        self._engine, self._registers = engine, tuple(adapters)
        self.capabilities = self.capabilities.model_copy(update={"chat": engine.prompts.chat})
        return [
            AdapterProof(register_name=name, sha256=adapter.sha256, zero_effect=none)
            for (name, adapter), none in zip(adapters.items(), zero, strict=True)
        ]

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream one reply. Closing or dropping the iterator takes its row out of the batch at the next step.

        Raises:
            BackendError: the prompt does not fit the context, messages without a chat template, a failed pass.
            MixtureError: a register that is not open, or a mode that this engine has not.
            DeadlineError: the deadline passed, waiting for a place or during the reply.
        """
        engine = self._opened()
        check_sampling(request.sampling, self.capabilities.sampling, self.name)
        check_logprobs(request.logprobs, self.capabilities.logprobs, self.name)
        check_tools(request, self.capabilities, self.name)
        check_bias(request.sampling.logit_bias, engine.vocabulary, self.name)
        weights = self._weights(request.plan)
        prompt = await offload(engine.prompts.of, request)
        grammar = None if request.json_schema is None else await offload(engine.grammar, request.json_schema)
        seed = secrets.randbits(63) if request.seed is None else request.seed
        row = engine.row(request, prompt, weights, seed, grammar)
        await within(request.deadline, asyncio.sleep(0))
        engine.submit(row)
        try:
            while True:
                event = await within(request.deadline, row.outlet.queue.get())
                if isinstance(event, Exception):
                    raise event
                yield event
                if event.finish_reason is not None:
                    return
        finally:
            row.dropped = True

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """Natural-log probability of each token of ``reply`` after the request's prompt, under its mixture.

        From the raw logits, before any sampling; one pass for every 128 tokens, between two steps of those that speak.

        Raises:
            BackendError, MixtureError, DeadlineError: as `generate`.
        """
        engine = self._opened()
        weights = self._weights(request.plan)
        prompt = await offload(engine.prompts.of, request)
        pieces = await offload(engine.prompts.pieces, reply)
        return await within(request.deadline, asyncio.wrap_future(engine.score(prompt, pieces, weights)))

    async def count(self, text: str) -> int:
        """Tokens of a text, without any beginning-of-text token."""
        return len(await offload(self._opened().prompts.tokens, text))

    async def aclose(self) -> None:
        """End the engine; replies in flight fail. Closing again does nothing."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await offload(engine.close)

    def _start(self, model: LocalModel, adapters: Mapping[str, Adapter]) -> TransformersEngine:
        from scenepipe.backends.transformers_engine import TransformersEngine
        from scenepipe.backends.transformers_load import LoadOptions, load

        options = LoadOptions(
            weights=self.weights,
            dtype=self.dtype,
            device=self.device,
            device_map=self.device_map,
            max_memory=self.max_memory,
            offload_folder=self.offload_folder,
            quantization=self.quantization,
            attention=self.attention,
        )
        return TransformersEngine(
            load(model, options, self.context),
            adapters,
            context=self.context,
            parallel=self.parallel,
            max_batch_tokens=self.max_batch_tokens,
            threads=self.threads,
        )

    def _opened(self) -> TransformersEngine:
        if self._engine is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        return self._engine

    def _weights(self, plan: Plan) -> tuple[float, ...]:
        """The weight of every open register, in order."""
        check_plan(plan, self._registers, self.capabilities.mixtures, self.name)
        return tuple(plan.used.weights.get(name, 0.0) for name in self._registers)


def _meaningless(backend: Transformers) -> list[Fault]:
    if backend.device_map is not None:
        return []
    return [
        Fault(key, "it is for device_map, which was not given; set device_map: auto, or leave it out")
        for key in ("max_memory", "offload_folder")
        if getattr(backend, key) is not None
    ]


def _adapters(registers: Sequence[Register], model: LocalModel) -> dict[str, Adapter]:
    """Each register's adapter in normal form, proven to be for this model."""
    from scenepipe.models.adapter import load_adapter
    from scenepipe.register import adapter_of

    return {register.name: load_adapter(adapter_of(register, model).folder) for register in registers}
