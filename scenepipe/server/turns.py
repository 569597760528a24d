"""One turn of a chat: from what was asked to the makers of its replies, whichever API it came through."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
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
from scenepipe.server import makers
from scenepipe.server.auth import Caller
from scenepipe.server.messages import Conversation
from scenepipe.server.openai_types import Extension
from scenepipe.server.places import NAMELESS, ChatKey, Place, chat_key
from scenepipe.server.problem import invalid
from scenepipe.server.replies import Maker, Result
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
    """The makers of one turn's replies, and how it is found again."""

    makers: list[Maker]
    chat: str | None = None
    tip: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def told(self, result: Result) -> dict[str, Any]:
        """``"scenepipe": {…}`` of an answer, for a client that asks."""
        scene = None if result.scene is None else from_json(result.scene.to_json())
        return {"scene": scene, "chat": self.chat, "tip": result.stored}


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
    if places is None or not (asked.ask.remember or asked.key):
        origin = Origin(namespace=caller.namespace, run=asked.run, user=asked.user)
        return Turn(_makers(service, asked, _scene(asked, origin, asked.mixture, asked.talk.turns), asked.ask))
    if asked.named and (stored := await places.replayed(asked.talk.text, asked.run)) is not None:
        return await _replay(service, asked, stored)
    place = await places.of(asked.key, asked.talk, run=asked.run, user=asked.user, parent=asked.parent)
    if asked.again and place.answered is not None:
        return await _replay(service, asked, place.answered)
    return _told(service, asked, place)


def _told(service: Service, asked: Asked, place: Place) -> Turn:
    style, mixture = _style(asked, place), _mixture(service, asked, place)
    ask = asked.ask.model_copy(update={"style": style, "keep": _kept(style, mixture, place)})
    scene = _scene(asked, place.origin, mixture, place.turns)
    turn = Turn(_makers(service, asked, scene, ask), chat=place.origin.chat)
    if asked.ask.remember:
        turn.tip = operation_id(scene, asked.run, "spoken")
        turn.headers["x-scenepipe-tip"] = turn.tip
    if turn.chat and not turn.chat.startswith(NAMELESS):
        turn.headers["x-scenepipe-chat"] = quote(turn.chat, safe=" !#$&'()*+,/:;=?@[]")
    return turn


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
        own = ask.model_copy(update={"seed": _seed(ask.seed, index), "remember": False, "keep": {}})
        found.append(makers.of_scene(made, scene, own, heard=False))
    return found


def _seed(first: int | None, index: int) -> int:
    return secrets.randbelow(2**31) if first is None else (first + index * _SEED_STEP) % 2**31


def _through(service: Service, asked: Asked) -> Turn:
    made = service.made(asked.model)
    if asked.task is not None:
        service.metrics.side()
    request = service.through.request(asked.ask, asked.mixture, messages=asked.talk.messages())
    seeds = [asked.ask.seed if index == 0 else _seed(asked.ask.seed, index) for index in range(asked.n)]
    return Turn([makers.of_prompt(made, request.model_copy(update={"seed": seed})) for seed in seeds])


async def _replay(service: Service, asked: Asked, stored: Encounter) -> Turn:
    known = await service.remembering().get([stored.scene_id])
    scene = known[0] if known else new_scene(asked.talk.text)
    return Turn([makers.of_stored(scene, stored)] * asked.n, chat=stored.chat, tip=stored.id)
