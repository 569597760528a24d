"""Triton Inference Server with its vLLM backend: the generate extension over HTTP.

https://github.com/triton-inference-server/server, ``docs/protocol/extension_generate.md``; parameters and outputs as in
``vllm_backend/src/utils/request.py``. LoRA adapters are those of the model's ``multi_lora.json``, one a request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr

from scenepipe.backends.canary import CANARY_PROMPT, CANARY_TOKENS, GREEDY, Told, proofs_of, without_effect
from scenepipe.backends.openai_errors import ServerError
from scenepipe.backends.openai_flavours import Endpoint, Flavour
from scenepipe.backends.openai_found import mixture_faults
from scenepipe.backends.openai_http import HttpServer, Patience, base_url, new_id, url_faults
from scenepipe.backends.openai_reply import ReplyText, understood
from scenepipe.backends.openai_tokens import Tokens
from scenepipe.backends.openai_voices import NamedVoices
from scenepipe.backends.openai_wire import Call, Delta, finish_of, sampling_body
from scenepipe.contracts import AdapterProof, Capabilities, Chunk, Request
from scenepipe.errors import BackendError, ConfigError, DeadlineError, Fault, did_you_mean
from scenepipe.mixture import Mixture, Plan, check_plan
from scenepipe.option_ranges import range_faults
from scenepipe.sampling import check_sampling
from scenepipe.scene import TokenScore, Usage
from scenepipe.tools import check_tools

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

_HONOURED = {
    **{name: name for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty")},
    "repeat_penalty": "repetition_penalty",
}


class Triton:
    """A model of a Triton server that runs Triton's vLLM backend.

    A mixture is spoken where an adapter for it is deployed: a register at its whole weight, or a composed adapter under
    the name of its mixture. Parameters of the generate extension are plain values, so a ``logit_bias`` cannot be sent.

    Args:
        url: ``http://HOST:8000``, Triton's HTTP port.
        served: the model's name in the model repository.
        adapters: name in ``multi_lora.json`` by register or mixture (``poet@0.6+logician@0.4``); a register that is not
            here has its own name there.
        streaming: take replies token by token; false asks ``generate`` for the whole, where a gateway holds streams back.
        api_key: sent as a bearer token, where a gateway asks for one: ``{secret: NAME}``.
        verify: an adapter without effect: ``refuse`` to open, or go on with receipts that say ``unverified``.
        connect_s: seconds for a connection.
        first_token_s: seconds until the first token.
        between_tokens_s: seconds between two tokens.
        deadline_s: seconds for a whole reply, where the request has no nearer deadline.
        retries: second tries of a request that has no answer yet.
        parallel: requests in flight.

    Raises:
        ConfigError: an option is wrong; names all of them.
    """

    requires: ClassVar[dict[str, str]] = {}
    name = "triton"

    def __init__(
        self,
        *,
        url: str,
        served: str,
        adapters: dict[str, str] | None = None,
        streaming: bool = True,
        api_key: SecretStr | None = None,
        verify: Literal["refuse", "unverified"] = "refuse",
        connect_s: Annotated[float, Field(gt=0)] = 5.0,
        first_token_s: Annotated[float, Field(gt=0)] = 60.0,
        between_tokens_s: Annotated[float, Field(gt=0)] = 30.0,
        deadline_s: Annotated[float, Field(gt=0)] = 300.0,
        retries: Annotated[int, Field(ge=0, le=10)] = 2,
        parallel: Annotated[int, Field(ge=1)] = 32,
    ) -> None:
        if faults := range_faults(Triton, locals()) + _option_faults(url, served, adapters or {}):
            raise ConfigError(faults, "backend triton")
        self._url = base_url(url)
        self._served = served
        self._adapters = dict(adapters or {})
        self._key = api_key.get_secret_value() if api_key is not None else None
        self._refuses = verify == "refuse"
        self._patience = Patience(connect_s, first_token_s, between_tokens_s, deadline_s, retries)
        self._server: HttpServer | None = None
        self._registers: tuple[str, ...] = ()
        self._endpoint = Endpoint(f"/v2/models/{served}/generate_stream", "completions", _HONOURED)
        self._flavour = Flavour(self._endpoint, lora="adapter_id", convention="{name}")
        self.capabilities = Capabilities(
            mixtures=("premerged",) if adapters else (),
            sampling=tuple(_HONOURED),
            streaming=streaming,
            seed=True,
            stop=True,
            json_schema=True,
            parallel=parallel,
        )

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """See that the model is ready and that each adapter has an effect.

        Raises:
            BackendError: the server is not there, the model is not ready, or an adapter is missing or ignored.
        """
        if self._server is not None:
            raise BackendError("this backend is open already; close it first, or make a second one")
        server = self._server = HttpServer(self._url, "triton", self._patience, key=self._key)
        try:
            await self._check_served(server)
            self._tokens = Tokens(None, server, self._served, model)
            self._voices = NamedVoices(self._flavour, self._served, self._adapters, server.place)
            await self._voices.open(registers, model)
            self._registers = tuple(register.name for register in registers)
            self._free = asyncio.Semaphore(self.capabilities.parallel)
            self.capabilities = self.capabilities.model_copy(update={"mixtures": self._voices.modes})
            return await self._prove(server)
        except BaseException:
            await self.aclose()
            raise

    async def _check_served(self, server: HttpServer) -> None:
        try:
            await server.get(f"/v2/models/{self._served}/ready")
        except ServerError as error:
            if error.status not in (400, 404):
                raise
            ready = await _ready_models(server)
            raise BackendError(
                f"{server.place} has no model '{self._served}' that is ready; {did_you_mean(self._served, ready)}"
            ) from None

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream one reply. Closing or dropping the iterator closes the connection.

        Raises:
            BackendError: the server refused or failed, or the request asks for what it cannot do.
            MixtureError: a register that is not open, or a mixture without an adapter.
            DeadlineError: the deadline passed.
        """
        server = self._opened()
        self._check_request(request)
        until = self._patience.until(request.deadline)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(until):
                    await stack.enter_async_context(self._free)
            except TimeoutError:
                raise DeadlineError(f"{server.place}: the deadline passed in the queue; raise deadline_s") from None
            voice = await stack.enter_async_context(self._voices.speaking(request.plan.used, until))
            call = Call(request, self._flavour, self._endpoint, voice)
            chunks = await stack.enter_async_context(aclosing(self._read(server, call, until)))
            async for chunk in chunks:
                yield chunk

    async def _read(self, server: HttpServer, call: Call, until: float) -> AsyncGenerator[Chunk, None]:
        started = time.perf_counter()
        request_id = new_id()
        told = server.told(request_id)
        reply, seen = ReplyText(call, told), _Counted()
        async with aclosing(self._events(server, call, until, request_id)) as events:
            async for event in events:
                with understood(told):
                    delta = seen.read(event)
                if (chunk := reply.add(delta)) is not None:
                    yield chunk
        yield reply.finished(
            Usage(
                prompt_tokens=reply.prompt_tokens or 0,
                reply_tokens=reply.reply_tokens or reply.pieces,
                seconds=time.perf_counter() - started,
            )
        )

    def _events(self, server: HttpServer, call: Call, until: float, request_id: str) -> AsyncGenerator[Any, None]:
        if self.capabilities.streaming:
            return server.stream(self._endpoint.path, generate_body(call), deadline=until, request_id=request_id)
        return self._whole(server, call, until, request_id)

    async def _whole(self, server: HttpServer, call: Call, until: float, request_id: str) -> AsyncGenerator[Any, None]:
        path, body = self._endpoint.path.removesuffix("_stream"), {**generate_body(call), "stream": False}
        yield await server.post(path, body, deadline=until, request_id=request_id)

    async def _prove(self, server: HttpServer) -> list[AdapterProof]:
        dead = await without_effect(self._ask, self._voices.samples())
        if dead and self._refuses:
            raise BackendError(
                f"{server.place} says the same with and without the adapter of {', '.join(dead)}; set enable_lora in the "
                "model's model.json and name the adapter in multi_lora.json, or set verify: unverified to go on with "
                "receipts that say so"
            )
        return proofs_of(self._registers, self._voices.hashes, dead)

    async def _ask(self, mixture: Mixture) -> Told:
        plan = Plan(asked=mixture, used=mixture, mode="refuse")
        request = Request(prompt=CANARY_PROMPT, plan=plan, sampling=GREEDY, max_tokens=CANARY_TOKENS)
        return Told("".join([chunk.text async for chunk in self.generate(request)]), {})

    def _check_request(self, request: Request) -> None:
        check_tools(request, self.capabilities, self.name)
        if (request.prompt is None) == (request.messages is None):
            raise BackendError("a request has a prompt or messages, exactly one of them")
        if request.messages is not None:
            raise BackendError("triton takes a prompt; its generate extension has no messages")
        check_sampling(request.sampling, self.capabilities.sampling, self.name)
        if request.logprobs is not None:
            raise BackendError("triton tells no probabilities here; leave logprobs out, or choose another backend")
        check_plan(request.plan, self._registers, self.capabilities.mixtures, self.name)

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """Not possible: the generate extension tells nothing of a given reply.

        Raises:
            BackendError: always.
        """
        raise BackendError("triton tells no probabilities of a given reply; vllm and llama-server do")

    async def count(self, text: str) -> int:
        """Tokens of a text by the local model's vocabulary: Triton has no tokenizer endpoint.

        Raises:
            BackendError: there is no local model, or it has no vocabulary to count with.
        """
        self._opened()
        return await self._tokens.count(text)

    async def aclose(self) -> None:
        """Close every connection. Closing again does nothing."""
        server, self._server = self._server, None
        if server is not None:
            await server.aclose()

    def _opened(self) -> HttpServer:
        if self._server is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        return self._server


async def _ready_models(server: HttpServer) -> list[str]:
    """Models that are ready, by the model repository extension; none where that is closed."""
    try:
        listed = await server.post("/v2/repository/index", {"ready": True})
    except ServerError:
        return []
    rows = listed if isinstance(listed, list) else []
    return [str(row["name"]) for row in rows if isinstance(row, dict) and "name" in row]


def generate_body(call: Call) -> dict[str, Any]:
    """A request of the generate extension. Sampling goes as one JSON text, because a list is no parameter's value."""
    request = call.request
    sampling = {**sampling_body(call), "max_tokens": request.max_tokens}
    if request.stop:
        sampling["stop"] = list(request.stop)
    if request.seed is not None:
        sampling["seed"] = request.seed
    if call.voice.adapter is not None:
        sampling["lora_name"] = call.voice.adapter
    if request.json_schema is not None:
        sampling["structured_outputs"] = json.dumps({"json": request.json_schema})
    return {
        "text_input": request.prompt,
        "stream": True,
        "sampling_parameters": json.dumps(sampling, ensure_ascii=False),
        "exclude_input_in_output": True,
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }


class _Counted:
    """Events of the vLLM backend: each tells its own new tokens; ``finish_reason`` is the text None until the end."""

    def __init__(self) -> None:
        self._tokens = 0

    def read(self, event: Mapping[str, Any]) -> Delta:
        self._tokens += int(_one(event.get("num_output_tokens")) or 0)
        reason = _one(event.get("finish_reason"))
        prompt = _one(event.get("num_input_tokens"))
        return Delta(
            text=str(_one(event.get("text_output")) or ""),
            finish=None if reason == "None" else finish_of(reason),
            prompt_tokens=None if prompt is None else int(prompt),
            reply_tokens=self._tokens or None,
        )


def _one(value: Any) -> Any:
    """An output of one element, which Triton writes with or without its brackets."""
    return value[0] if isinstance(value, list) and value else value


def _option_faults(url: str, served: str, adapters: Mapping[str, str]) -> list[Fault]:
    faults = url_faults(url)
    if not served or "/" in served:
        faults.append(Fault("served", f"{served!r} was given; give the name of a model in the model repository"))
    return faults + mixture_faults(adapters)
