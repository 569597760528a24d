"""Models behind HTTP: vLLM, llama-server, TGI, Ollama and whatever else speaks OpenAI's completions."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr

from scenepipe.backends.canary import CANARY_PROMPT, CANARY_TOKENS, GREEDY, LIKELIEST, Told, proofs_of, without_effect
from scenepipe.backends.drawn_tokens import check_logprobs
from scenepipe.backends.llama_vocabulary import LlamaVocabulary
from scenepipe.backends.openai_errors import ServerError
from scenepipe.backends.openai_flavours import FLAVOURS, FlavourName
from scenepipe.backends.openai_found import MANY, Slots, found_model, option_faults, places
from scenepipe.backends.openai_http import HttpServer, Patience, base_url, new_id
from scenepipe.backends.openai_llama import llama_reply, llama_score
from scenepipe.backends.openai_loaded import LoadedVoices
from scenepipe.backends.openai_native import OllamaReader, TgiReader, ollama_body, tgi_body
from scenepipe.backends.openai_reply import ReplyText, understood
from scenepipe.backends.openai_sse import Decoder, JsonLines, SseDecoder
from scenepipe.backends.openai_tokens import Tokens, score_at_vllm
from scenepipe.backends.openai_voices import NamedVoices, ScaledVoices, Voices
from scenepipe.backends.openai_wire import Call, OpenAIReader, Reader, chat_body, completions_body
from scenepipe.contracts import AdapterProof, Capabilities, Chunk, Request
from scenepipe.errors import BackendError, ConfigError
from scenepipe.mixture import Mixture, Plan, check_plan
from scenepipe.models.store import cache_dir
from scenepipe.option_ranges import range_faults
from scenepipe.sampling import check_sampling
from scenepipe.scene import TokenScore, Usage
from scenepipe.tools import check_tools

if TYPE_CHECKING:
    from scenepipe.models.catalogue import LocalModel
    from scenepipe.register import Register

_ASKS: dict[str, tuple[Callable[[Call], dict[str, Any]], Callable[[Call], Reader], Callable[[], Decoder]]] = {
    "completions": (completions_body, OpenAIReader, SseDecoder),
    "chat": (chat_body, OpenAIReader, SseDecoder),
    "tgi": (tgi_body, TgiReader, SseDecoder),
    "ollama": (ollama_body, OllamaReader, JsonLines),
}
"""By wire: the body of a request, the reader of its events, their decoder."""


class OpenAI:
    """A server of models. ``flavour`` says what it can do; what it would ignore is refused by name.

    A mixture is exact at llama-server, one composed adapter at vLLM, and elsewhere what the server has under a name.
    Opening asks a fixed prompt with and without each adapter, because some servers take any name and speak as the base.
    A request is sent again only while nothing of its reply has come. A reply that is dropped closes its connection, by
    which the server frees its place.

    Args:
        url: ``http://HOST:PORT``; a ``/v1`` at its end may stay.
        flavour: what kind of server it is.
        served: the model's name at the server; None where it serves one alone.
        api_key: sent as a bearer token: ``{secret: NAME}``.
        endpoint: ``completions`` sends the prompt as it is, which the registers were trained with; ``chat`` puts it
            through the server's chat template, takes messages and tools, and tells reasoning and calls apart from the reply.
        adapters: what a register or a mixture (``poet@0.6+logician@0.4``) is called at the server; at llama-server the
            number or the file of a register's adapter.
        composed: folder of composed adapters, for vLLM; the server must see the same path. None: in the cache.
        max_rank: largest rank that a vLLM server takes (``--max-lora-rank``); 64 unless given.
        max_cpu_loras: adapters that a vLLM server keeps (``--max-cpu-loras``); 8 unless given.
        verify: an adapter without effect: ``refuse`` to open, or go on with receipts that say ``unverified``.
        connect_s: seconds for a connection.
        first_token_s: seconds until the first token, the queue of the server included.
        between_tokens_s: seconds between two tokens.
        deadline_s: seconds for a whole reply, where the request has no nearer deadline.
        retries: second tries of a request that has no answer yet, after a lost connection, 429 or 5xx.
        parallel: requests in flight; None: the slots of a llama-server, else 32.

    Raises:
        ConfigError: an option is wrong, or means nothing for this flavour; names all of them.
    """

    requires: ClassVar[dict[str, str]] = {}
    name = "openai"

    def __init__(
        self,
        *,
        url: str,
        flavour: FlavourName = "generic",
        served: str | None = None,
        api_key: SecretStr | None = None,
        endpoint: Literal["completions", "chat"] = "completions",
        adapters: dict[str, str] | None = None,
        composed: str | None = None,
        max_rank: Annotated[int, Field(ge=1)] | None = None,
        max_cpu_loras: Annotated[int, Field(ge=1)] | None = None,
        verify: Literal["refuse", "unverified"] = "refuse",
        connect_s: Annotated[float, Field(gt=0)] = 5.0,
        first_token_s: Annotated[float, Field(gt=0)] = 60.0,
        between_tokens_s: Annotated[float, Field(gt=0)] = 30.0,
        deadline_s: Annotated[float, Field(gt=0)] = 300.0,
        retries: Annotated[int, Field(ge=0, le=10)] = 2,
        parallel: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        faults = range_faults(OpenAI, locals())
        loading = {"composed": composed, "max_rank": max_rank, "max_cpu_loras": max_cpu_loras}
        if faults := faults + option_faults(url, flavour, adapters or {}, loading):
            raise ConfigError(faults, "backend openai")
        self.flavour = FLAVOURS[flavour]
        self.endpoint = self.flavour.chat if endpoint == "chat" and self.flavour.chat else self.flavour.prompt
        self.name = f"openai ({flavour})"
        self._flavour_name = flavour
        self._url = base_url(url)
        self._served = served
        self._key = api_key.get_secret_value() if api_key is not None else None
        self._adapters = dict(adapters or {})
        self._composed = composed
        self._max_rank, self._max_cpu_loras = max_rank or 64, max_cpu_loras or 8
        self._refuses = verify == "refuse"
        self._patience = Patience(connect_s, first_token_s, between_tokens_s, deadline_s, retries)
        self._parallel = parallel
        self._server: HttpServer | None = None
        self._voices: Voices | None = None
        self._registers: tuple[str, ...] = ()
        self.capabilities = self._capabilities(chat=endpoint == "chat")

    def _capabilities(self, *, chat: bool) -> Capabilities:
        modes = {"scales": ("exact",), "loaded": ("premerged",)}.get(self.flavour.lora, ())
        return Capabilities(
            mixtures=modes or (("premerged",) if self._adapters else ()),  # type: ignore[arg-type]  # of MixtureMode
            sampling=tuple(self.endpoint.sampling),
            logprobs=self.endpoint.logprobs,
            reasoning=self.endpoint.reasoning,
            tools=self.endpoint.tools is not None,
            tool_wishes=self.endpoint.tools or (),
            streaming=True,
            seed=self.endpoint.seed,
            stop=True,
            json_schema=self.endpoint.schema is not None,
            score=self.flavour.score is not None and not chat,
            chat=chat,
            parallel=self._parallel or MANY,
        )

    # --- opening -----------------------------------------------------------------------------------------------------

    async def open(self, model: LocalModel | None, registers: Sequence[Register]) -> Sequence[AdapterProof]:
        """Find the server, its model and the registers' adapters, and see that each adapter has an effect.

        Raises:
            BackendError: the server is not there, serves another model, lacks an adapter, or ignores one.
            RegisterError: a register's own adapter is refused.
        """
        if self._server is not None:
            raise BackendError("this backend is open already; close it first, or make a second one")
        self._server = HttpServer(
            self._url, self._flavour_name, self._patience, key=self._key, keep_alive=self.flavour.keep_alive
        )
        try:
            return await self._open(self._server, model, registers)
        except BaseException:
            await self.aclose()
            raise

    async def _open(
        self, server: HttpServer, model: LocalModel | None, registers: Sequence[Register]
    ) -> Sequence[AdapterProof]:
        served = await found_model(server, self.flavour, self._served)
        self._tokens = Tokens(self.flavour.tokenize, server, served, model)
        self._words = LlamaVocabulary(server.post)
        self._voices = self._make_voices(server, served)
        await self._voices.open(registers, model)
        self._registers = tuple(register.name for register in registers)
        parallel = self._parallel or await places(server, self.flavour)
        self._slots = Slots(parallel, grouped=self.flavour.lora == "scales")
        modes = self._voices.modes if registers else self.capabilities.mixtures
        self.capabilities = self.capabilities.model_copy(update={"parallel": parallel, "mixtures": modes})
        return await self._prove(server)

    def _make_voices(self, server: HttpServer, served: str) -> Voices:
        if self.flavour.lora == "scales":
            return ScaledVoices(self.flavour, served, self._adapters, server)
        if self.flavour.lora == "loaded":
            folder = Path(self._composed).expanduser() if self._composed else cache_dir() / "composed"
            return LoadedVoices(served, server, folder, max_rank=self._max_rank, most=self._max_cpu_loras)
        return NamedVoices(self.flavour, served, self._adapters, server.place)

    async def _prove(self, server: HttpServer) -> list[AdapterProof]:
        assert self._voices is not None
        dead = await without_effect(self._ask, self._voices.samples())
        if dead and self._refuses:
            raise BackendError(
                f"{server.place} says the same with and without the adapter of {', '.join(dead)}: it ignores it. Start it "
                f"with adapters ({self.flavour.start or 'see its manual'}) and compare 'adapters' and 'flavour', or set "
                "verify: unverified to go on with receipts that say so"
            )
        return proofs_of(self._registers, self._voices.hashes, dead)

    async def _ask(self, mixture: Mixture) -> Told:
        """The canary's prompt, answered by a mixture."""
        most = min(LIKELIEST, self.endpoint.logprobs) or None
        plan = Plan(asked=mixture, used=mixture, mode="refuse")
        request = Request(
            prompt=CANARY_PROMPT, plan=plan, sampling=GREEDY, max_tokens=4 if most else CANARY_TOKENS, logprobs=most
        )
        chunks = [chunk async for chunk in self.generate(request)]
        drawn = [token for chunk in chunks for token in chunk.logprobs]
        first = {score.token: score.logprob for score in drawn[0].top} if drawn else {}
        return Told("".join(chunk.text for chunk in chunks), first)

    # --- replies -----------------------------------------------------------------------------------------------------

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Stream one reply. Closing or dropping the iterator closes the connection.

        Raises:
            BackendError: the server refused or failed, or the request asks for what it cannot do.
            MixtureError: a register that is not open, or a mixture that the server cannot speak.
            DeadlineError: the deadline passed.
        """
        server = self._opened()
        self._check_request(request)
        check_plan(request.plan, self._registers, self.capabilities.mixtures, self.name)
        until = self._patience.until(request.deadline)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._slots.held(request.plan.used.id, until, server.place))
            for again in (True, False):
                said = False
                try:
                    async with aclosing(self._reply(server, request, until)) as chunks:
                        async for chunk in chunks:
                            said = True
                            yield chunk
                    return
                except _Unknown as unknown:
                    if said or not (again and unknown.again):
                        raise unknown.error from None

    async def _reply(self, server: HttpServer, request: Request, until: float) -> AsyncGenerator[Chunk, None]:
        assert self._voices is not None
        async with AsyncExitStack() as stack:
            voice = await stack.enter_async_context(self._voices.speaking(request.plan.used, until))
            if self.endpoint.wire == "llama":
                chunks = llama_reply(server, self._words, request, request.prompt or "", voice, until)
            else:
                chunks = self._read(server, Call(request, self.flavour, self.endpoint, voice), until)
            try:
                async for chunk in await stack.enter_async_context(aclosing(chunks)):
                    yield chunk
            except ServerError as error:
                if error.status == 404:
                    raise _Unknown(error, again=self._voices.forget(voice)) from None
                raise

    async def _read(self, server: HttpServer, call: Call, until: float) -> AsyncGenerator[Chunk, None]:
        body_of, reader_of, decoder = _ASKS[self.endpoint.wire]
        started = time.perf_counter()
        request_id = new_id()
        told = server.told(request_id)
        reader, reply = reader_of(call), ReplyText(call, told)
        body, path = body_of(call), self.endpoint.path
        async with aclosing(
            server.stream(path, body, deadline=until, decoder=decoder, request_id=request_id)
        ) as events:
            async for event in events:
                with understood(told):
                    delta = reader.read(event)
                if (chunk := reply.add(delta)) is not None:
                    yield chunk
                if delta.last or reply.stopped:
                    break
        yield reply.finished(await self._usage(call.request, reply, started, until))

    async def _usage(self, request: Request, reply: ReplyText, started: float, until: float) -> Usage:
        """Counts as the server tells them; what it does not tell is counted, or else pieces stand for tokens."""
        prompt = reply.prompt_tokens
        if prompt is None:
            text = request.prompt or "\n".join(message.content for message in request.messages or ())
            prompt = await self._counted(text, until)
        tokens = reply.reply_tokens
        if tokens is None:
            tokens = await self._counted(reply.text, until)
        return Usage(
            prompt_tokens=prompt or 0,
            reply_tokens=reply.pieces if tokens is None else tokens,
            seconds=time.perf_counter() - started,
        )

    async def _counted(self, text: str, until: float) -> int | None:
        try:
            return await self._tokens.count(text, until)
        except BackendError:
            return None

    def _check_request(self, request: Request) -> None:
        check_tools(request, self.capabilities, self.name)
        if (request.prompt is None) == (request.messages is None):
            raise BackendError("a request has a prompt or messages, exactly one of them")
        check_sampling(request.sampling, self.capabilities.sampling, self.name)
        if request.messages is not None and not self.capabilities.chat:
            raise BackendError(
                f"{self.name} with endpoint: completions takes a prompt; set endpoint: chat for messages"
            )
        if request.json_schema is not None and self.endpoint.schema is None:
            raise BackendError(
                f"{self.name} keeps to no JSON Schema at this endpoint; choose another endpoint or flavour"
            )
        check_logprobs(request.logprobs, self.endpoint.logprobs, self.name)

    # --- the rest ----------------------------------------------------------------------------------------------------

    async def score(self, request: Request, reply: str) -> Sequence[TokenScore]:
        """Natural-log probability of each token of ``reply`` after the request's prompt, under its mixture.

        Raises:
            BackendError: the server cannot, or failed.
            MixtureError, DeadlineError: as `generate`.
        """
        server = self._opened()
        check_plan(request.plan, self._registers, self.capabilities.mixtures, self.name)
        if not self.capabilities.score or request.prompt is None:
            raise BackendError(f"{self.name} tells no probabilities of a given reply; vllm and llama-server do")
        assert self._voices is not None
        until = self._patience.until(request.deadline)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._slots.held(request.plan.used.id, until, server.place))
            voice = await stack.enter_async_context(self._voices.speaking(request.plan.used, until))
            if self.flavour.score == "forced":
                return await llama_score(server, self._words, request.prompt, reply, voice, until)
            return await score_at_vllm(server, self._tokens, voice, request.prompt, reply, until)

    async def count(self, text: str) -> int:
        """Tokens of a text, without any beginning-of-text token.

        Raises:
            BackendError: neither the server nor a local vocabulary can count.
        """
        self._opened()
        return await self._tokens.count(text)

    async def aclose(self) -> None:
        """Unload what was loaded and close every connection. Closing again does nothing."""
        server, voices = self._server, self._voices
        self._server = self._voices = None
        if voices is not None:
            await voices.aclose()
        if server is not None:
            await server.aclose()

    def _opened(self) -> HttpServer:
        if self._server is None:
            raise BackendError("this backend is not open; await open(model, registers) first")
        return self._server


class _Unknown(Exception):
    """The server does not know the name that was asked for; ``again``: it may, when it is asked anew."""

    def __init__(self, error: ServerError, *, again: bool) -> None:
        self.error = error
        self.again = again
        super().__init__(str(error))
