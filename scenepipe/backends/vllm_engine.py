"""One vLLM engine (`AsyncLLM`) in terms of token ids, texts and composed adapters. Imports vLLM when it starts."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from scenepipe.backends.same_model import TURN_ENDS
from scenepipe.backends.token_prompts import TokenPrompts, token_names
from scenepipe.backends.vllm_options import VllmOptions, engine_arguments, platform_faults, unknown
from scenepipe.backends.vllm_reply import VllmReply, sampling_arguments, scores
from scenepipe.context import offload
from scenepipe.contracts import Chunk, Request
from scenepipe.errors import BackendError, ConfigError
from scenepipe.models.composed import ComposedAdapter
from scenepipe.scene import TokenScore
from scenepipe.vllm_plugin import PARENT

_SHUTDOWN_SECONDS = 30.0
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Where the user has set nothing: no report to vLLM's makers, no log on standard output, and no fork of a process that
has threads."""


class VllmEngine:
    """Starts vLLM's engine process; blocks until it answers, 35 s for the default model on two idle cores.

    Args:
        weights: folder or hub id.
        ranks: of the open registers' adapters; without any, the engine has no LoRA.

    Raises:
        ConfigError: ``engine`` has names that this vLLM has not.
        BackendError: vLLM refuses an argument or the weights, or its process ends.
    """

    def __init__(self, options: VllmOptions, weights: str, ranks: Sequence[int]) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ[PARENT] = str(os.getpid())
        cpu = _on_cpu()
        self._arguments = engine_arguments(options, weights, ranks, cpu=cpu)
        if found := platform_faults(options, cpu=cpu):
            raise ConfigError(found, "backend vllm")
        self._llm: Any = _start(options, self._arguments)
        # Also at exit, while the interpreter still has its modules.
        self._end = weakref.finalize(self, self._llm.shutdown, timeout=_SHUTDOWN_SECONDS)
        try:
            self._read(weights)
        except BaseException:
            self.close()
            raise
        self.base_needs_adapter = bool(ranks) and cpu
        """On CPUs vLLM 0.32 gives a row without an adapter the one of its last place (``vllm.lora.ops.torch_ops`` takes
        the index -1), so the base must be asked for with an adapter of zeros."""
        self._watermark = bool(options.engine.get("watermark_config"))
        self._numbers = itertools.count(1)
        self._adapters: dict[str, Any] = {}
        self._loading = asyncio.Lock()

    def _read(self, weights: str) -> None:
        """What the engine says of its model."""
        config = self._llm.model_config
        self._tokenizer = self._llm.get_tokenizer()
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise BackendError(
                f"the tokenizer of {weights} does not run on 'tokenizers'; set engine.tokenizer_mode: hf, or use another "
                "backend for this model"
            )
        self._text = backend
        self.prompts = TokenPrompts(self._tokenizer, fits=int(config.max_model_len), end=self._tokenizer.eos_token_id)
        self.layers = int(config.hf_text_config.num_hidden_layers)
        self.hidden = int(config.hf_text_config.hidden_size)
        self.vocabulary = int(config.get_vocab_size())
        ids = (backend.token_to_id(name) for name in TURN_ENDS)
        self._ends = tuple(number for number in ids if number is not None)

    @property
    def max_lora_rank(self) -> int | None:
        """The largest rank that it takes; None without LoRA."""
        rank: int | None = self._arguments.get("max_lora_rank")
        return rank

    def close(self) -> None:
        """End the engine process; replies in flight fail. Closing again does nothing."""
        self._llm = None
        self._end()

    # --- texts -------------------------------------------------------------------------------------------------------

    def names(self, count: int) -> list[str]:
        """Names of the first tokens of the vocabulary."""
        return token_names(self._tokenizer, count)

    # --- adapters ----------------------------------------------------------------------------------------------------

    async def load(self, adapter: ComposedAdapter | None) -> Any:
        """vLLM's handle of an adapter, which has been loaded once: one that cannot be must not end the engine.

        Names hold a hash of the weights, and vLLM keys its attention cache by name and path: no cache is ever shared
        between different mixtures.

        Raises:
            BackendError: vLLM refuses it.
        """
        if adapter is None:
            return None
        if adapter.name not in self._adapters:
            async with self._loading:  # one that is loaded waits for no other
                if adapter.name not in self._adapters:
                    self._adapters[adapter.name] = await self._add(adapter)
        return self._adapters[adapter.name]

    async def _add(self, adapter: ComposedAdapter) -> Any:
        from vllm.lora.request import LoRARequest

        handle = LoRARequest(lora_name=adapter.name, lora_int_id=len(self._adapters) + 1, lora_path=str(adapter.folder))
        try:
            if not await self._opened().add_lora(handle):
                raise BackendError(
                    f"vLLM did not load the adapter {adapter.name}; see what it logged on standard error"
                )
        except BackendError:
            raise
        except Exception as error:
            raise _named(error, f"loading the adapter {adapter.name}") from error
        return handle

    # --- replies -----------------------------------------------------------------------------------------------------

    async def reply(self, request: Request, prompt: list[int], handle: Any) -> AsyncIterator[Chunk]:
        """Pieces of a reply. Closing the iterator takes the request out of the engine at its next step.

        Raises:
            BackendError: vLLM refuses the request, or has ended.
        """
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        arguments = sampling_arguments(request, ends=self._ends, watermark=self._watermark)
        arguments["output_kind"] = RequestOutputKind.DELTA
        if request.json_schema is not None:
            arguments["structured_outputs"] = StructuredOutputsParams(json=request.json_schema)
        reply = VllmReply(request, self._text, prompt)
        async with aclosing(self._outputs(prompt, arguments, handle)) as outputs:
            async for output in outputs:
                chunk = reply.chunk(output.outputs[0])
                if chunk is not None:
                    yield chunk
                if reply.done:
                    return
        raise BackendError("vLLM ended the reply without its last piece; open it again")

    async def score(self, prompt: list[int], reply: str, handle: Any) -> list[TokenScore]:
        """Natural-log probability of each token of a reply after a prompt.

        Raises:
            BackendError: they do not fit the context, or vLLM refuses.
        """
        from vllm.sampling_params import RequestOutputKind

        pieces = await offload(self.prompts.pieces, reply)
        ids = [token for token, _ in pieces]
        self.prompts.must_fit(len(prompt) + len(ids) + 1, "prompt, reply and one token have")
        arguments = {
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": 0,
            "detokenize": False,
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        rows = (await self._final([*prompt, *ids], arguments, handle)).prompt_logprobs or ()
        return scores([text for _, text in pieces], ids, list(rows)[len(prompt) :])

    async def next_logprobs(self, prompt: str, most: int, handle: Any) -> dict[int, float]:
        """The likeliest next tokens, computed afresh: a cached beginning is summed in another order."""
        from vllm.sampling_params import RequestOutputKind

        arguments = {
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": most,
            "detokenize": False,
            "skip_reading_prefix_cache": True,
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        ids = await offload(lambda: self.prompts.tokens(prompt, special=True))
        output = await self._final(ids, arguments, handle)
        return {int(token): float(one.logprob) for token, one in output.outputs[0].logprobs[0].items()}

    async def _final(self, ids: list[int], arguments: Mapping[str, Any], handle: Any) -> Any:
        last = None
        async with aclosing(self._outputs(ids, arguments, handle)) as outputs:
            async for output in outputs:
                last = output
        if last is None:
            raise BackendError("vLLM answered nothing; open it again")
        return last

    async def _outputs(self, ids: list[int], arguments: Mapping[str, Any], handle: Any) -> AsyncGenerator[Any, None]:
        """vLLM's outputs for one request; leaving aborts it."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input

        try:
            params = SamplingParams(**arguments)
            number = f"scenepipe-{next(self._numbers)}"
            prompt = tokens_input(list(ids))
            stream = self._opened().generate(prompt, params, number, lora_request=handle)
            async with aclosing(stream):
                async for output in stream:
                    yield output
        except BackendError:
            raise
        except Exception as error:
            raise _named(error, "the request") from error

    def _opened(self) -> Any:
        if self._llm is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        return self._llm


def _start(options: VllmOptions, arguments: Mapping[str, Any]) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    known = [field.name for field in dataclasses.fields(AsyncEngineArgs)]
    if faults := unknown(options, known):
        raise ConfigError(faults, "backend vllm")
    try:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
    except Exception as error:  # vLLM and what it is built of raise errors of any kind
        raise _named(error, f"starting with {Path(str(arguments['model'])).name or arguments['model']}") from error


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _named(error: BaseException, what: str) -> BackendError:
    """vLLM's error in one line; errors that it wraps say more than it does."""
    while error.__cause__ is not None and not str(error):
        error = error.__cause__
    words = " ".join(str(error).split()) or type(error).__name__
    if type(error).__name__ == "EngineDeadError":
        return BackendError("vLLM's engine process has ended; see what it logged on standard error, and open it again")
    return BackendError(f"vLLM, {what}: {words[:500]}")
