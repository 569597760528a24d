"""One turn of a chat: from what was asked to the makers of its replies, whichever API it came through."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from pydantic_core import from_json
from starlette.requests import HTTPConnection

from scenepipe.ask import Ask
from scenepipe.contracts import Encounter
from scenepipe.errors import MixtureError
from scenepipe.mixture import Mixture, of
from scenepipe.recall import operation_id
from scenepipe.scene import Origin, Scene, new_scene
from scenepipe.scene import Turn as SaidTurn
from scenepipe.server import makers
from scenepipe.server.auth import Caller
from scenepipe.server.messages import Conversation
from scenepipe.server.openai_parts import usage
from scenepipe.server.openai_types import Extension
from scenepipe.server.places import ChatKey, Place, chat_key, named
from scenepipe.server.problem import ApiError, invalid
from scenepipe.server.replies import Maker, Replies, Result
from scenepipe.server.service import Service
from scenepipe.server.side_requests import task_of

SCENE_HEADER = "x-scenepipe-scene"
REMEMBER_HEADER = "x-scenepipe-remember"
PARENT_HEADER = "x-scenepipe-parent"
_ON, _OFF = ("1", "true", "yes"), ("0", "false", "no")
_SEED_STEP = 104_729
"""Between the seeds of ``n`` replies to one text."""
LONGEST_STYLE = 20_000
"""Characters of a style that is remembered with its chat; a longer one holds for its request alone."""


@dataclass(frozen=True)
class Asked:
    """What a request asks, checked; nothing has been looked up yet.

    Args:
        run: id of the run; the same for a request that is sent again under its own name.
        again: the client says that it sends this for another time.
        task: what a chat window wants for itself; None for a person's text.
        lost: what is answered where ``parent`` is not there, if not a 404.
    """

    talk: Conversation
    ask: Ask
    mixture: Mixture | None
    model: str | None
    key: ChatKey | None
    parent: str | None
    run: str
    named: bool
    again: bool
    task: str | None
    lost: ApiError | None = None
    n: int = 1
    user: str | None = None
    scene: bool = False

    @property
    def passes_through(self) -> bool:
        """No scene is made: a window's own request, or the client's own answer to be continued."""
        return self.task is not None or bool(self.talk.begun)

    @property
    def lane(self) -> str:
        """Whose turn it is in the queue: the chat, the user, or the history. Single questions share one."""
        if self.key is not None:
            return self.key.name
        if self.user:
            return f"user:{self.user}"
        first = self.talk.turns[0].text if self.talk.turns else ""
        return hashlib.sha256(first.encode()).hexdigest()[:16] if first else ""


def asked(
    request: HTTPConnection,
    service: Service,
    caller: Caller,
    *,
    talk: Conversation,
    ask: Ask,
    model: str | None,
    extension: Extension,
    conversation: object = None,
    lost: ApiError | None = None,
    n: int = 1,
    user: str | None = None,
) -> Asked:
    """Everything about a request that needs no look at the archive.

    Raises:
        ApiError: an unknown model, too many choices, a bad name of a chat.
    """
    if n > service.settings.most_choices:
        raise invalid(f"n is {n}; possible: 1 to {service.settings.most_choices}", "n", "invalid_value")
    headers = request.headers
    mixture = service.voices.mixture(model)
    task = task_of(headers, talk.text)
    silent = headers.get(REMEMBER_HEADER, "").lower() in _OFF or task is not None or not extension.remember
    if not (task or talk.begun):
        service.speaking()
    own = headers.get("idempotency-key")
    return Asked(
        talk=talk,
        ask=ask.model_copy(update={"remember": ask.remember and not silent and service.remembers}),
        mixture=mixture,
        model=model,
        key=chat_key(headers, extension, conversation),
        parent=headers.get(PARENT_HEADER) or extension.parent,
        run=_run(caller, own),
        named=own is not None,
        again=own is None and _retried(headers.get("x-stainless-retry-count", "")),
        task=task,
        lost=lost,
        n=n,
        user=user,
        scene=extension.scene or headers.get(SCENE_HEADER, "").lower() in _ON,
    )


def _run(caller: Caller, name: str | None) -> str:
    if name is None:
        return uuid.uuid4().hex
    return "again-" + hashlib.sha256(f"{caller.namespace}\n{caller.name}\n{name}".encode()).hexdigest()[:32]


def _retried(count: str) -> bool:
    return count.isdigit() and count.strip("0") != ""


@dataclass
class Turn:
    """The makers of one turn's replies, and how it is found again.

    Args:
        chat: its name; None where the client cannot name it.
    """

    makers: list[Maker]
    chat: str | None = None
    tip: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def told(self, result: Result) -> dict[str, Any]:
        """``"scenepipe": {…}`` of an answer, for a client that asks."""
        scene = None if result.scene is None else from_json(result.scene.to_json())
        return {"scene": scene, "chat": self.chat, "tip": result.stored}


@contextlib.asynccontextmanager
async def spoken(
    service: Service, caller: Caller, asked: Asked, *, route: str, request_id: str
) -> AsyncIterator[tuple[Turn, Replies]]:
    """A turn and its replies, from its place in the queue on; they are stopped when the block is left.

    Raises:
        ApiError: there is no place in the queue or in the chat.
    """
    with service.spans.request(route, request_id):
        async with service.admission.place(caller.name, asked.lane):
            turn = await begin(service, caller, asked)  # what it looks up is up to date now
            async with service.replies(turn.makers) as replies:
                yield turn, replies


def log_fields(service: Service, asked: Asked, replies: Replies) -> dict[str, Any]:
    """Figures of a turn for its log line; words only where the operator wants them."""
    results = replies.finished
    told = usage(results)
    found = {"model": asked.model, "prompt_tokens": told["prompt_tokens"], "reply_tokens": told["completion_tokens"]}
    found |= {"task": asked.task, "finish": results[0].finish if results else None}
    if service.settings.log_content and results:
        found |= {"text": asked.talk.text, "reply": results[0].text}
    return {name: value for name, value in found.items() if value is not None}


async def begin(service: Service, caller: Caller, asked: Asked) -> Turn:
    """Look up the turn's place, and make ready its replies.

    Raises:
        ApiError: the place is not there.
        InputError: the text cannot be a scene.
        ArchiveError: the archive cannot be read.
    """
    if asked.passes_through:
        return _through(service, asked)
    places = service.places(caller)
    if places is None and asked.lost is not None:
        raise asked.lost
    if places is None or not (asked.ask.remember or asked.key):
        origin = Origin(namespace=caller.namespace, run=asked.run, user=asked.user)
        scene = _scene(asked, origin, asked.mixture, asked.talk.turns)
        return Turn(_makers(service, asked, scene, _as_messages(asked, asked.ask)))
    if asked.named and (stored := await places.replayed(asked.talk.text, asked.run)) is not None:
        return await _replay(service, asked, stored)
    place = await places.of(asked.key, asked.talk, run=asked.run, user=asked.user, parent=asked.parent, lost=asked.lost)
    if asked.again and place.answered is not None:
        return await _replay(service, asked, place.answered)
    return _told(service, asked, place)


def _told(service: Service, asked: Asked, place: Place) -> Turn:
    style, mixture = _style(asked, place), _mixture(service, asked, place)
    ask = asked.ask.model_copy(update={"style": style, "keep": _kept(style, mixture, place)})
    ask = _as_messages(asked, ask, place.turns)
    scene = _scene(asked, place.origin, mixture, place.turns)
    turn = Turn(_makers(service, asked, scene, ask), chat=named(place.origin.chat))
    if asked.ask.remember:
        turn.tip = operation_id(scene, asked.run, "spoken")
        if ask.tools is None:  # with tools only the end tells whether the text was answered
            turn.headers["x-scenepipe-tip"] = turn.tip
    if turn.chat:
        turn.headers["x-scenepipe-chat"] = quote(turn.chat, safe=" !#$&'()*+,/:;=?@[]")
    return turn


def _as_messages(asked: Asked, ask: Ask, turns: Sequence[SaidTurn] = ()) -> Ask:
    """Tools and what they gave stand in the model's own chat template: it is given messages and no scene prompt.

    Args:
        turns: what was said before, where the client did not send it.
    """
    talk = asked.talk
    if ask.tools is None and not talk.calls:
        return ask
    talk = talk if talk.turns else talk.after(turns)
    return ask.model_copy(update={"messages": replace(talk, style=ask.style).messages()})


def _style(asked: Asked, place: Place) -> str:
    """The request's own system prompt, or the chat's where the client does not send its history."""
    kept = place.style.get("system")
    return asked.ask.style or (kept if isinstance(kept, str) and not place.resends else "")


def _mixture(service: Service, asked: Asked, place: Place) -> Mixture | None:
    """The model that was asked for, or the chat's where none was."""
    kept = place.style.get("mixture")
    if asked.model is not None or not isinstance(kept, dict):
        return asked.mixture
    try:
        found = of(kept)
    except MixtureError:
        return asked.mixture
    return found if set(found.weights) <= set(service.voices.registers) else asked.mixture


def _kept(style: str, mixture: Mixture | None, place: Place) -> dict[str, Any]:
    """What this turn is remembered with: the chat's style where it is another than before."""
    found: dict[str, Any] = {"system": style} if style and len(style) <= LONGEST_STYLE else {}
    found |= {} if mixture is None else {"mixture": dict(mixture.weights)}
    return found if found != place.style else {}


def _scene(asked: Asked, origin: Origin, mixture: Mixture | None, turns: Any) -> Scene:
    scene = new_scene(asked.talk.text, origin)
    if mixture is not None:
        scene = scene.with_(registers=mixture)
    return scene.with_(turns=tuple(turns))


def _makers(service: Service, asked: Asked, scene: Scene, ask: Ask) -> list[Maker]:
    """One for each choice; the first is remembered, the others are drawn beside it."""
    made = service.made(asked.model)
    found = [makers.of_scene(made, scene, ask)]
    for index in range(1, asked.n):
        own = ask.model_copy(update={"seed": seed_of(ask.seed, index), "remember": False, "keep": {}})
        found.append(makers.of_scene(made, scene, own, heard=False))
    return found


def seed_of(first: int | None, index: int) -> int | None:
    """The seed of one of several replies to the same text; the first has the one that was asked for."""
    if index == 0:
        return first
    return secrets.randbelow(2**31) if first is None else (first + index * _SEED_STEP) % 2**31


def _through(service: Service, asked: Asked) -> Turn:
    made = service.made(asked.model)
    if asked.task is not None:
        service.metrics.side()
    request = service.through.request(asked.ask, asked.mixture, messages=asked.talk.messages())
    seeds = [seed_of(asked.ask.seed, index) for index in range(asked.n)]
    return Turn([makers.of_prompt(made, request.model_copy(update={"seed": seed})) for seed in seeds])


async def _replay(service: Service, asked: Asked, stored: Encounter) -> Turn:
    known = await service.remembering().get([stored.scene_id])
    scene = known[0] if known else new_scene(asked.talk.text)
    return Turn([makers.of_stored(scene, stored)] * asked.n, chat=named(stored.chat), tip=stored.id)
