"""``WebSocket /v1/bridge``: the events of `scenepipe.events`, and runs that are begun and stopped over one connection.

The client sends the messages of `scenepipe.server.bridge_types`; the server::

    {"type": "ready", "pipeline": "quickstart", "models": ["quickstart", "base", "poet"]}
    {"type": "started", "id": "1", "run": "…", "chat": "kitchen", "tip": "…"}
    {"type": "event", "id": "1", "chat": "kitchen", "event": {"type": "token", "text": "Every", …}}
    {"type": "done", "id": "1", "chat": "kitchen", "tip": "…", "text": "Every rope …", "finish": "stop"}
    {"type": "cancelled", "id": "1"}
    {"type": "subscribed", "chat": "kitchen"}, {"type": "unsubscribed", "chat": "kitchen"}
    {"type": "error", "id": "1", "status": 503, "retry_after": 2, "error": {…}}

Events of somebody else's run in a chat have ``"id": null``. Runs wait in the same queue as requests over HTTP.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from scenepipe import events as ev
from scenepipe.scene import Origin
from scenepipe.server.auth import Caller, Keys
from scenepipe.server.bridge_types import SAID, Auth, Cancel, Run, Subscribe, Unsubscribe
from scenepipe.server.hub import chat_topic, run_topic
from scenepipe.server.limits import check_text
from scenepipe.server.logs import LOG, request_done
from scenepipe.server.messages import Conversation
from scenepipe.server.openai_types import Extension
from scenepipe.server.places import is_name, named
from scenepipe.server.problem import ApiError, invalid, of_error, of_validation
from scenepipe.server.replies import Replies
from scenepipe.server.service import Service
from scenepipe.server.sockets import HangUp, Socket, ending
from scenepipe.server.turns import Asked, asked, log_fields, spoken

ROUTE = "/v1/bridge"
PROTOCOL = "scenepipe"
MOST_CHATS = 64
"""Chats that one connection may hear."""


async def bridge(websocket: WebSocket) -> None:
    """One connection, from its handshake to its end; its runs end with it."""
    service: Service = websocket.app.state.service
    keys: Keys = websocket.scope["state"]["keys"]
    await websocket.accept(PROTOCOL if PROTOCOL in websocket.scope["subprotocols"] else None)
    async with ending(websocket), service.socket():
        link = Link(websocket, service)
        try:
            await link.serve(websocket.scope["state"]["caller"], keys)
        finally:
            await link.aclose()


class Link:
    """One client: its runs by their ids, and the chats it hears."""

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        self._service = service
        self._socket = Socket(websocket, service.settings, lambda error: self._failed(None, error))
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._ids: dict[str, str] = {}
        self._chats: set[str] = set()
        self._caller = Caller("", "")

    async def serve(self, caller: Caller | None, keys: Keys) -> None:
        """Until either side hangs up.

        Raises:
            HangUp: the client broke a bound, or has no key.
        """
        self._caller = caller or await self._introduced(keys)
        voices = self._service.voices
        self._socket.send({"type": "ready", "pipeline": voices.pipeline, "models": voices.names})
        await self._socket.talk(self._take)

    async def aclose(self) -> None:
        """Stop its runs. What is whole goes on being written down, see `Replies.aclose`."""
        for chat in self._chats:
            self._service.hub.leave(chat_topic(self._caller.namespace, chat), self)
        tasks = list(self._runs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hear(self, origin: Origin, event: str) -> None:
        """One event of a run that it began, or of a chat that it hears."""
        head = to_json({"type": "event", "id": self._ids.get(origin.run), "chat": named(origin.chat)}).decode()
        self._socket.tell(f'{head[:-1]},"event":{event}}}')

    async def _introduced(self, keys: Keys) -> Caller:
        """Whose key the first message holds."""
        try:
            async with asyncio.timeout(self._service.settings.read_s):
                said = SAID.validate_python(await self._socket.next())
        except (TimeoutError, ValidationError):
            said = None
        found = keys.of(said.key) if isinstance(said, Auth) else None
        if found is None:
            raise HangUp(1008, "no valid API key")
        return found

    async def _take(self, value: dict[str, Any]) -> None:
        try:
            said = SAID.validate_python(value)
        except ValidationError as error:
            self._failed(value.get("id"), of_validation(error))
            return
        try:
            match said:
                case Run():
                    self._begin(said)
                case Cancel():
                    self._cancel(said.id)
                case Subscribe():
                    self._subscribe(said.chat)
                case Unsubscribe():
                    self._chats.discard(said.chat)
                    self._service.hub.leave(chat_topic(self._caller.namespace, said.chat), self)
                    self._socket.send({"type": "unsubscribed", "chat": said.chat})
                case Auth():
                    raise invalid("this connection has its key already", "type")
        except ApiError as error:
            self._failed(value.get("id"), error)

    def _begin(self, wanted: Run) -> None:
        if wanted.id in self._runs:
            raise invalid(f"run '{wanted.id}' goes on; give each its own id", "id", "duplicate_id")
        task = self._runs[wanted.id] = asyncio.create_task(self._run(wanted))
        task.add_done_callback(lambda done: self._ended(wanted.id, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._runs[name]
        if task.cancelled():
            self._socket.send({"type": "cancelled", "id": name})

    def _cancel(self, name: str) -> None:
        if name not in self._runs:
            raise ApiError(404, f"no run '{name}' goes on here", param="id", code="run_not_found")
        self._runs[name].cancel()

    def _subscribe(self, chat: str) -> None:
        if not is_name(chat):
            raise invalid(f"no chat is named {chat[:40]!r}", "chat")
        if chat not in self._chats and len(self._chats) >= MOST_CHATS:
            raise ApiError(429, f"a connection hears {MOST_CHATS} chats at most", param="chat", code="too_many_chats")
        self._chats.add(chat)
        self._service.hub.join(chat_topic(self._caller.namespace, chat), self)
        self._socket.send({"type": "subscribed", "chat": chat})

    async def _run(self, wanted: Run) -> None:
        began, status, told = time.perf_counter(), 500, dict[str, Any]()
        try:
            question = question_of(self._service, self._caller, wanted)
            topic = run_topic(self._caller.namespace, question.run)
            self._ids[question.run] = wanted.id
            self._service.hub.join(topic, self)
            try:
                told = await self._spoken(wanted, question)
                status = 200
            finally:
                self._service.hub.leave(topic, self)
                self._ids.pop(question.run, None)
        except asyncio.CancelledError:
            status = 499
            raise
        except Exception as error:
            answer = of_error(error)
            status = answer.status
            if status >= 500 and not isinstance(error, ApiError):
                LOG.error("a run failed", exc_info=error)
            self._failed(wanted.id, answer)
        finally:
            self._over(status, time.perf_counter() - began, told)

    async def _spoken(self, wanted: Run, question: Asked) -> dict[str, Any]:
        made = spoken(self._service, self._caller, question, route=ROUTE, request_id=question.run)
        async with made as (turn, replies):
            where = {"id": wanted.id, "chat": turn.chat, "tip": turn.tip}
            self._socket.send({"type": "started", "run": question.run, **where})
            if question.passes_through:
                await self._pieces(question, replies)
            result = (await replies.results())[0]
        where["tip"] = result.stored
        self._socket.send({"type": "done", **where, "text": result.text, "finish": result.finish})
        return log_fields(self._service, question, replies)

    async def _pieces(self, question: Asked, replies: Replies) -> None:
        """What passes through makes no scene and so no events: its pieces are told as tokens."""
        origin = Origin(namespace=self._caller.namespace, run=question.run)
        async for pieces in replies.pieces():
            for piece in pieces:
                token = ev.Token(run=question.run, text=piece.text, reasoning=piece.reasoning, logprobs=piece.logprobs)
                self.hear(origin, token.model_dump_json())

    def _failed(self, name: Any, error: ApiError) -> None:
        shown = name if isinstance(name, str) else None
        told = {"type": "error", "id": shown, "status": error.status, "retry_after": error.retry_after}
        self._socket.send(told | error.body())

    def _over(self, status: int, seconds: float, told: dict[str, Any]) -> None:
        self._service.metrics.answered(ROUTE, "RUN", status, seconds)
        fields = {"route": ROUTE, "status": status, "seconds": round(seconds, 6), "key": self._caller.name}
        request_done(fields | told)


def question_of(service: Service, caller: Caller, wanted: Run) -> Asked:
    """What a message asks.

    Raises:
        ApiError: something that cannot be done.
    """
    text = check_text(wanted.text, "text", service.settings)
    if not text.strip():
        raise invalid("there is no text; give one to be answered", "text", "missing")
    drawn = {"temperature": wanted.temperature, "top_p": wanted.top_p}
    style = check_text(wanted.system, "system", service.settings)
    ask = service.wishes().ask(
        max_tokens=wanted.max_tokens,
        sampling={name: value for name, value in drawn.items() if value is not None},
        stop=wanted.stop,
        seed=wanted.seed,
        style=style,
    )
    own = [(b"idempotency-key", wanted.again.encode("utf-8", "replace"))] if wanted.again else []
    return asked(
        HTTPConnection({"type": "websocket", "headers": own}),
        service,
        caller,
        talk=Conversation(style=style, turns=(), text=text),
        ask=ask,
        model=wanted.model,
        extension=Extension(chat=wanted.chat, parent=wanted.parent, remember=wanted.remember),
    )
