"""One server over HTTP: requests within their time, streamed answers, and second tries where nothing was said yet."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from scenepipe.backends.openai_errors import PassingError, ServerError, error_in, refusal
from scenepipe.backends.openai_sse import Decoder, ServerEvent, SseDecoder
from scenepipe.errors import BackendError, DeadlineError, Fault

DONE = "[DONE]"
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 8.0
_LEAVE_S = 0.5
_LARGEST_ANSWER = 64 << 20


@dataclass(frozen=True)
class Patience:
    """How long a server may take, in seconds, and how often it is asked again."""

    connect_s: float
    first_token_s: float
    between_tokens_s: float
    deadline_s: float
    retries: int

    def until(self, deadline: float | None) -> float:
        """When a request that starts now must be finished, in monotonic seconds: there always is such a moment."""
        latest = time.monotonic() + self.deadline_s
        return latest if deadline is None else min(deadline, latest)


class HttpServer:
    """A client of one server. Needs a running loop from its first request on.

    Args:
        url: without the path of any endpoint.
        flavour: what kind of server it is, for messages.
        key: sent as a bearer token; never part of a message.
        keep_alive: false where the server closes connections without saying so (llama.cpp after a stream).
    """

    def __init__(
        self, url: str, flavour: str, patience: Patience, *, key: str | None = None, keep_alive: bool = True
    ) -> None:
        self.place = f"{url} ({flavour})"
        self.patience = patience
        headers = {"accept-encoding": "identity", "user-agent": "scenepipe"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        if not keep_alive:
            headers["connection"] = "close"
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(None, connect=patience.connect_s),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64 if keep_alive else 0),
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close every connection; requests in flight fail."""
        await self._client.aclose()

    async def get(self, path: str, *, deadline: float | None = None) -> Any:
        """The JSON value of a page.

        Raises:
            ServerError: the server refused, is not there, or answered no JSON.
            DeadlineError: its time passed first.
        """
        return await self._whole("GET", path, None, deadline)

    async def post(
        self, path: str, body: Mapping[str, Any], *, deadline: float | None = None, request_id: str | None = None
    ) -> Any:
        """One request, one JSON value; the plain text of an answer that is not JSON (vLLM's adapter endpoints).

        Raises:
            ServerError, DeadlineError: as `get`.
        """
        return await self._whole("POST", path, body, deadline, request_id)

    async def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        deadline: float | None = None,
        decoder: Callable[[], Decoder] = SseDecoder,
        request_id: str | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of a streamed answer. Closing the iterator closes the connection.

        The request is sent again only while nothing of an answer has come.

        Raises:
            ServerError: the server refused, went away, fell silent, or sent what is no event.
            DeadlineError: the request's time passed first.
        """
        until = self.patience.until(deadline)
        for attempt in range(self.patience.retries + 1):
            said = False
            try:
                async with self._opened("POST", path, body, until, request_id) as answer:
                    async for event in self._events(answer, until, decoder()):
                        said = True
                        yield event
                return
            except PassingError as trouble:
                if said:
                    raise
                await self._pause(trouble, attempt, until)

    async def _whole(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        deadline: float | None,
        request_id: str | None = None,
    ) -> Any:
        until = self.patience.until(deadline)
        for attempt in range(self.patience.retries + 1):
            try:
                async with self._opened(method, path, body, until, request_id) as answer:
                    content = await self._body(answer, until)
                break
            except PassingError as trouble:
                await self._pause(trouble, attempt, until)
        if not content:
            return None
        if "json" not in answer.headers.get("content-type", "") and content[:1] not in b"{[":  # vLLM names no type
            return content.decode("utf-8", "replace")
        try:
            return json.loads(content)
        except ValueError:
            raise self._no_json(answer, content) from None

    @asynccontextmanager
    async def _opened(
        self, method: str, path: str, body: Mapping[str, Any] | None, until: float, request_id: str | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Send a request and wait for the head of a good answer; leaving closes what is not read."""
        request_id = request_id or new_id()
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {"x-request-id": request_id, "content-type": "application/json"}
        request = self._client.build_request(method, path, content=content, headers=headers)
        told = self.told(request_id)
        limit = time.monotonic() + self.patience.first_token_s
        with _named(told):
            async with self._within(until, limit, "first_token_s", told):
                answer = await self._client.send(request, stream=True)
        try:
            if answer.status_code != 200:
                body_bytes = await self._body(answer, until)
                raise refusal(self._told_by(answer), answer.status_code, answer.headers, body_bytes)
            yield answer
        finally:
            await asyncio.shield(answer.aclose())

    async def _body(self, answer: httpx.Response, until: float) -> bytes:
        told = self._told_by(answer)
        limit = time.monotonic() + self.patience.first_token_s
        pieces, size = [], 0
        with _named(told):
            async with self._within(until, limit, "first_token_s", told):
                async for piece in answer.aiter_raw():
                    pieces.append(piece)
                    size += len(piece)
                    if size > _LARGEST_ANSWER:
                        raise ServerError(f"{told}: its answer has more than {_LARGEST_ANSWER} bytes")
        return b"".join(pieces)

    async def _events(
        self, answer: httpx.Response, until: float, decoder: Decoder
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Objects until the end of the stream. Comments that keep a connection alive do not count as an answer."""
        await self._check_kind(answer, until)
        told, pieces = self._told_by(answer), answer.aiter_raw()
        limit_s, option, heard = self.patience.first_token_s, "first_token_s", False
        since = time.monotonic()
        while True:
            with _named(told):
                async with self._within(until, since + limit_s, option, told):
                    piece = await anext(pieces, None)
            for event in self._decoded(decoder, piece, told):
                if event.data.strip() == DONE:
                    await self._finish(pieces)
                    return
                value = self._object(event, told)
                heard = True
                yield value
                limit_s, option, since = self.patience.between_tokens_s, "between_tokens_s", time.monotonic()
            if piece is None:
                if not heard:
                    raise PassingError(f"{told}: it ended its answer before it said anything; look into its log")
                return

    async def _check_kind(self, answer: httpx.Response, until: float) -> None:
        """A stream that is none: an error told with status 200, a page of a proxy, a server that does not stream."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "text/html"):
            return
        content = await self._body(answer, until)
        with suppress(ValueError):
            if (words := error_in(json.loads(content))) is not None:
                raise ServerError(f"{self._told_by(answer)}: {words}")
        raise self._no_json(answer, content)

    async def _finish(self, pieces: AsyncIterator[bytes]) -> None:
        """Read to the end, so that the connection can serve the next request."""
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(_LEAVE_S):
                async for _ in pieces:
                    pass

    def _decoded(self, decoder: Decoder, piece: bytes | None, told: str) -> list[ServerEvent]:
        try:
            return decoder.end() if piece is None else decoder.feed(piece)
        except ValueError as error:
            raise ServerError(f"{told}: its stream is not text in UTF-8 ({error}); is 'flavour' right?") from None

    def _object(self, event: ServerEvent, told: str) -> dict[str, Any]:
        try:
            value = json.loads(event.data)
        except ValueError:
            value = None
        if event.name == "error":
            raise ServerError(f"{told}: {error_in({'error': value or event.data})}")
        if not isinstance(value, dict):
            raise ServerError(f"{told}: it sent {event.data[:80]!r} where a JSON object belongs; is 'flavour' right?")
        if (words := error_in(value)) is not None:
            raise ServerError(f"{told}: it broke the reply off: {words}")
        return value

    async def _pause(self, trouble: PassingError, attempt: int, until: float) -> None:
        """Wait before another try, as long as the server asked for.

        Raises:
            PassingError: there is none left, or it would begin after the deadline.
        """
        if attempt >= self.patience.retries:
            raise trouble
        backoff = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 not a secret
        pause = backoff if trouble.wait_s is None else trouble.wait_s
        if time.monotonic() + pause >= until:
            asked = "" if trouble.wait_s is None else f"; it asks to come back in {trouble.wait_s:.0f} s"
            raise PassingError(f"{trouble}{asked}, which is after the deadline", status=trouble.status) from trouble
        await asyncio.sleep(pause)

    @asynccontextmanager
    async def _within(self, until: float, limit: float, option: str, told: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(min(until, limit)):
                yield
        except TimeoutError:
            if limit < until:
                raise ServerError(
                    f"{told}: it said nothing for {getattr(self.patience, option):g} s; look at the server, or raise "
                    f"{option}"
                ) from None
            raise DeadlineError(
                f"{told}: the deadline passed before the reply was finished; raise deadline_s"
            ) from None

    def _no_json(self, answer: httpx.Response, content: bytes) -> ServerError:
        message = str(refusal(self._told_by(answer), 200, answer.headers, content))
        return ServerError(message.replace("HTTP 200: ", "it did not answer as such a server does: "))

    def told(self, request_id: str) -> str:
        """Server and request, as messages name them."""
        return f"{self.place}, request {request_id}"

    def _told_by(self, answer: httpx.Response) -> str:
        """Server and request id: the server's own where it tells one, else the one that it was sent."""
        return self.told(answer.headers.get("x-request-id") or answer.request.headers["x-request-id"])


@contextmanager
def _named(told: str) -> Iterator[None]:
    """Transport errors, in words. Everything that may pass is a `PassingError`."""
    try:
        yield
    except httpx.ConnectError as error:
        if isinstance(_root(error), ssl.SSLError):
            raise ServerError(f"{told}: no secure connection ({error}); compare 'url'") from error
        raise PassingError(f"{told}: cannot be reached ({error}); is it running there?") from error
    except httpx.ConnectTimeout as error:
        raise PassingError(f"{told}: no connection within connect_s; is it running there?") from error
    except (httpx.TransportError, httpx.StreamError) as error:
        words = f"{type(error).__name__}: {error}"
        raise PassingError(f"{told}: it went away during the request ({words}); look into its log") from error
    except RuntimeError as error:
        if "closed" not in str(error):
            raise
        raise BackendError(f"{told}: this backend was closed during the request") from error


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # one of them is there
    return error


def new_id() -> str:
    """An id for one request, sent as ``x-request-id``."""
    return uuid.uuid4().hex


def url_faults(url: str) -> list[Fault]:
    """What is wrong with a server's address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [Fault("url", f"{url!r} was given; give http://HOST:PORT or https://HOST")]
    if parts.username or parts.password:
        return [
            Fault("url", "it carries a name or a password, which messages would show; give api_key: {secret: NAME}")
        ]
    if parts.query or parts.fragment:
        return [Fault("url", "it has a query or a fragment; give http://HOST:PORT, the endpoints are added to it")]
    return []


def base_url(url: str) -> str:
    """The address that endpoints are added to: ``/v1`` belongs to them."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
