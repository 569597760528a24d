"""A model for Triton with the inputs, outputs and manners of its vLLM backend; what speaks is the fake servers' model.

Triton starts it in a process of its own, with the module `triton_python_backend_utils`. The manners are those of
``vllm_backend/src/model.py`` and ``vllm_backend/src/utils/request.py``
(https://github.com/triton-inference-server/vllm_backend): one response a token when streaming, the whole text in one
response otherwise, an error response for what is wrong, and an end when the client has gone.
"""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from scenepipe.contracts import Chunk
from tests.scenepipe.backends.servers.model import TinyModel

_LAST = triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """Triton looks for a class of this name."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self._adapters: list[str] = json.loads(parameters["adapters"]["string_value"])
        self._model = TinyModel(long_s=float(parameters["long_s"]["string_value"]))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            asyncio.run_coroutine_threadsafe(self._served(request, request.get_response_sender()), self._loop)

    def finalize(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _served(self, request: Any, sender: Any) -> None:
        try:
            await self._answer(request, sender)
        except Exception as error:
            answer = triton.InferenceResponse(error=triton.TritonError(f"Error generating stream: {error}"))
            sender.send(answer, flags=_LAST)

    async def _answer(self, request: Any, sender: Any) -> None:
        stream, exclude = _input(request, "stream"), _input(request, "exclude_input_in_output")
        text = _input(request, "text_input").decode()
        if stream and not exclude:
            raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
        sampling = json.loads(_input(request, "sampling_parameters"))
        name, structured = sampling.pop("lora_name", None), sampling.pop("structured_outputs", None)
        if name is not None and name not in self._adapters:
            raise ValueError(f"LoRA {name} is not supported, we currently support {self._adapters}")
        reply = self._model.say(
            text,
            name or "",
            sampling,
            max_tokens=sampling["max_tokens"],
            stop=tuple(sampling.get("stop", ())),
            seed=sampling.get("seed"),
            json_schema=json.loads(structured)["json"] if structured else None,
        )
        chunks: list[Chunk] = []
        async for chunk in reply:
            if sender.is_cancelled():
                sender.send(flags=_LAST)
                return
            chunks.append(chunk)
            if stream:
                sender.send(_response(request, [chunk], text), flags=_LAST if chunk.usage else 0)
        if not stream:
            sender.send(_response(request, chunks, text), flags=_LAST)


def _input(request: Any, name: str) -> Any:
    tensor = triton.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()[0]


def _response(request: Any, chunks: list[Chunk], text: str) -> Any:
    before = "" if _input(request, "exclude_input_in_output") else text
    said = before + "".join(chunk.text for chunk in chunks)
    outputs = [triton.Tensor("text_output", np.asarray([said.encode()], dtype=np.object_))]
    if _input(request, "return_finish_reason"):
        reason = str(chunks[-1].finish_reason)
        outputs.append(triton.Tensor("finish_reason", np.asarray([reason.encode()], dtype=np.object_)))
    if _input(request, "return_num_input_tokens"):
        outputs.append(triton.Tensor("num_input_tokens", np.asarray(len(text.split()), dtype=np.uint32)))
    if _input(request, "return_num_output_tokens"):
        count = sum(bool(chunk.text) for chunk in chunks)
        outputs.append(triton.Tensor("num_output_tokens", np.asarray([count], dtype=np.uint32)))
    return triton.InferenceResponse(output_tensors=outputs)
