"""vLLM in process: each mixture is one composed adapter, loaded at its first use."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from scenepipe.backends.canary import CANARY_PROMPT, LIKELIEST, proofs_by_likeliest
from scenepipe.backends.drawn_tokens import MOST_ALTERNATIVES, check_bias, check_logprobs
from scenepipe.backends.llama_engine import within
from scenepipe.backends.same_model import check_sizes, check_vocabulary
from scenepipe.backends.vllm_options import VllmOptions, faults
from scenepipe.backends.vllm_reply import SAMPLING
from scenepipe.context import offload
from scenepipe.contracts import AdapterProof, Capabilities, Chunk, Request
from scenepipe.errors import BackendError, ConfigError, MissingExtraError
from scenepipe.mixture import Plan, check_plan, of
from scenepipe.models.composed import ComposedAdapter, ComposedAdapters
from scenepipe.option_ranges import range_faults
from scenepipe.sampling import check_sampling
from scenepipe.scene import TokenScore
from scenepipe.tools import check_tools

if TYPE_CHECKING:
    from scenepipe.backends.vllm_engine import VllmEngine
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.models.receipt import AdapterFolder
    from scenepipe.register import Register


class Vllm:
    """Any model that vLLM serves, on its GPUs or CPUs; requests with different mixtures share its batch.

    vLLM adds one adapter per request, so a mixture is *premerged*: an adapter that is exactly the weighted sum is composed
    on disk at its first use (`scenepipe.models.composed`) and loaded. vLLM keeps the last ``max_cpu_loras`` of them in
    memory, ``max_loras`` of them in one batch; requests for more wait.

    vLLM runs the model in processes of its own. A script that uses this backend needs the usual
    ``if __name__ == "__main__":`` around what it does. ``repeat_penalty`` counts the prompt's tokens too, as vLLM has it.
    With ``engine.watermark_config``, ``watermark`` is honoured by vLLM's own method, and off unless asked for.

    Args:
        weights: folder in Transformers' form with the same model, quantised or not, or a hub id; None: made once from
            the model's GGUF and kept.
        dtype: what is computed in; ``auto`` is what the weights are in.
        context: tokens of prompt and reply together, per request.
        parallel: requests in one batch; more wait.
        max_loras: different mixtures in one batch.
        max_cpu_loras: mixtures kept in memory, at least ``max_loras``; None: twice as many.
        max_lora_rank: largest sum of the ranks of a mixture's registers. None: the least of vLLM's ranks that holds
            all open registers together; every adapter costs as much as one of this rank.
        composed: mixtures kept on disk.
        engine: any other argument of vLLM's engine, by its name in Python: tensor_parallel_size,
            pipeline_parallel_size, data_parallel_size, enable_expert_parallel, quantization, cpu_offload_gb,
            kv_offloading_size, kv_cache_memory_bytes, enforce_eager, … vLLM checks the values. Those that name code to
            run are refused.

    Raises:
        ConfigError: an option is outside its range, or refused; names all of them.
    """

    requires: ClassVar[dict[str, str]] = {"vllm": "vllm"}
    name = "vllm"

    def __init__(
        self,
        *,
        weights: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        context: Annotated[int, Field(ge=64)] = 2048,
        parallel: Annotated[int, Field(ge=1)] = 32,
        max_loras: Annotated[int, Field(ge=1)] = 8,
        max_cpu_loras: Annotated[int, Field(ge=1)] | None = None,
        max_lora_rank: Literal[8, 16, 32, 64, 128, 256, 320, 512] | None = None,
        composed: Annotated[int, Field(ge=1)] = 64,
        engine: dict[str, Any] | None = None,
    ) -> None:
        found = range_faults(Vllm, locals())
        self.options = VllmOptions(
            weights=weights,
            dtype=dtype,
            context=context,
            parallel=parallel,
            max_loras=max_loras,
            max_cpu_loras=max_cpu_loras,
            max_lora_rank=max_lora_rank,
            composed=composed,
            engine=dict(engine or {}),
        )
        if found := found + faults(self.options):
            raise ConfigError(found, "backend vllm")
        self._engine: VllmEngine | None = None
        self._composed: ComposedAdapters | None = None
        self._folders: dict[str, Path] = {}
        self.capabilities = Capabilities(
            mixtures=("premerged",),
            sampling=(*SAMPLING, "watermark") if self.options.engine.get("watermark_config") else SAMPLING,
            logprobs=min(MOST_ALTERNATIVES, int(self.options.engine.get("max_logprobs", MOST_ALTERNATIVES))),
            streaming=True,
            seed=True,
            stop=True,
            json_schema=True,
            score=True,
            parallel=parallel,
        )

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """Start vLLM with room for these registers, and see that each changes the next-token distribution.

        Raises:
            BackendError: no model, or vLLM refuses the model or an argument.
            ConfigError: ``engine`` has a name that this vLLM has not.
            RegisterError: a register has no fitting adapter for this model.
            MissingExtraError: vLLM is not installed, or a package that makes the weights.
        """
        if self._engine is not None:
            raise BackendError("this backend is open already; close it first, or make a second one")
        if model is None:
            raise BackendError("vllm needs a model; name one with 'model:', for example gemma-3-270m")
        if importlib.util.find_spec("vllm") is None:
            raise MissingExtraError("backend 'vllm'", "vllm", "vllm")
        adapters = await offload(_adapters, registers, model)
        engine = await offload(self._start, model, adapters)
        self._engine = engine
        try:
            return await proofs_by_likeliest(self._canary, {name: each.sha256 for name, each in adapters.items()})
        except BaseException:
            await self.aclose()
            raise

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream one reply. Closing or dropping the iterator aborts the request.

        Raises:
            BackendError: the prompt does not fit the context, messages without a chat template, vLLM's refusal.
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
        adapter = await within(request.deadline, self._adapter(weights))  # held to the end: its folder is not evicted
        handle = await within(request.deadline, engine.load(adapter))
        pieces = cast("AsyncGenerator[Chunk, None]", engine.reply(request, prompt, handle))
        async with aclosing(pieces):
            while (chunk := await within(request.deadline, anext(pieces, None))) is not None:
                yield chunk

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """Natural-log probability of each token of ``reply`` after the request's prompt, under its mixture.

        From the raw logits, before any sampling; one pass.

        Raises:
            BackendError, MixtureError, DeadlineError: as `generate`.
        """
        engine = self._opened()
        weights = self._weights(request.plan)
        prompt = await offload(engine.prompts.of, request)
        adapter = await within(request.deadline, self._adapter(weights))  # held to the end: its folder is not evicted
        handle = await within(request.deadline, engine.load(adapter))
        return await within(request.deadline, engine.score(prompt, reply, handle)) if reply else []

    async def count(self, text: str) -> int:
        """Tokens of a text, without any beginning-of-text token."""
        return len(await offload(self._opened().prompts.tokens, text))

    async def aclose(self) -> None:
        """End vLLM's processes; replies in flight fail. Closing again does nothing."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await offload(engine.close)

    # --- opening -----------------------------------------------------------------------------------------------------

    def _start(self, model: LocalModel, adapters: Mapping[str, AdapterFolder]) -> VllmEngine:
        from scenepipe.backends.vllm_engine import VllmEngine
        from scenepipe.models.adapter import load_adapter
        from scenepipe.models.composed import composed_dir
        from scenepipe.models.dequantise import safetensors_of

        ranks = [load_adapter(adapter.folder).rank for adapter in adapters.values()]
        engine = VllmEngine(self.options, self.options.weights or str(safetensors_of(model)), ranks)
        try:
            check_sizes(model, layers=engine.layers, hidden=engine.hidden)
            check_vocabulary(model, engine.names)
        except BaseException:
            engine.close()
            raise
        self._folders = {name: adapter.folder for name, adapter in adapters.items()}
        self._composed = ComposedAdapters(
            composed_dir(model.sha256), most=self.options.composed, max_rank=engine.max_lora_rank
        )
        return engine

    async def _canary(self, register: str | None) -> dict[int, float]:
        engine = self._opened()
        adapter = await self._adapter({register: 1.0} if register else {})
        most = min(LIKELIEST, self.capabilities.logprobs)
        return await engine.next_logprobs(CANARY_PROMPT, most, await engine.load(adapter))

    # --- mixtures ----------------------------------------------------------------------------------------------------

    def _weights(self, plan: Plan) -> dict[str, float]:
        """The weight of every register that speaks."""
        check_plan(plan, self._folders, self.capabilities.mixtures, self.name)
        return {name: weight for name, weight in plan.used.weights.items() if weight > 0}

    async def _adapter(self, weights: Mapping[str, float]) -> ComposedAdapter | None:
        assert self._composed is not None, "set when the engine started"
        if not weights:
            return await offload(self._composed.base, self._folders) if self._opened().base_needs_adapter else None
        return await offload(self._composed.of, of(weights), self._folders)

    def _opened(self) -> VllmEngine:
        if self._engine is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        return self._engine


def _adapters(registers: Sequence[Register], model: LocalModel) -> dict[str, AdapterFolder]:
    """Each register's adapter, proven to be for this model."""
    from scenepipe.register import adapter_of

    return {register.name: adapter_of(register, model) for register in registers}
