"""Where a turn belongs: in which chat, after which encounter, with which turns before it.

A chat is known by, in this order: what the client names itself (``X-Scenepipe-Chat``, ``scenepipe.chat``, ``conversation``), what
a chat window tells (Open WebUI's ``X-OpenWebUI-Chat-Id``, ``X-Conversation-Id``), and else by its history: the chat of this
namespace in which the same words were answered with the same words. All of it is read from the archive's log
(`scenepipe.chats`); the server itself keeps nothing, so a restart forgets nothing.

A history that the client sends is the branch: what was changed or cut off begins another one, and nothing is overwritten.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from scenepipe import chats
from scenepipe.contracts import Archive, Encounter
from scenepipe.scene import Origin, Turn, scene_id
from scenepipe.server.messages import Conversation
from scenepipe.server.openai_types import Extension
from scenepipe.server.problem import ApiError, invalid

OWN_HEADER = "x-scenepipe-chat"
WINDOW_HEADERS = ("x-openwebui-chat-id", "x-conversation-id")
NAMELESS = "history:"
"""What names of chats begin with that are known by their history alone."""
RESPONSE = "resp-"
"""What names of chats begin with that a response was given without a chat of the client's."""
MADE = (NAMELESS, RESPONSE)
ROOT = "none"
CANDIDATES = 8
"""Chats with the same first turn that are compared, the newest."""
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_History = Sequence[tuple[str, str | None]]
_Known = tuple[chats.Chat, Sequence[Encounter]]


@dataclass(frozen=True)
class ChatKey:
    """How the client names the chat, and whether it sends the whole history with every turn."""

    name: str
    resends: bool


@dataclass(frozen=True)
class Place:
    """Where a turn belongs.

    Args:
        turns: what was said before it.
        style: the chat's style so far: ``system`` and ``mixture``.
        answered: the stored answer to just this text in this place, where it was given before.
    """

    origin: Origin
    turns: tuple[Turn, ...]
    style: Mapping[str, Any]
    resends: bool
    answered: Encounter | None = None


def chat_key(headers: Headers, extension: Extension, conversation: object = None) -> ChatKey | None:
    """The chat that a request names; None where its history has to tell.

    Raises:
        ApiError: a name that is none.
    """
    given = conversation.get("id") if isinstance(conversation, dict) else conversation
    own = headers.get(OWN_HEADER) or extension.chat or (given if isinstance(given, str) else None)
    if own:
        return ChatKey(_checked(own), resends=False)
    for name in WINDOW_HEADERS:
        if window := headers.get(name, "").strip():
            return ChatKey(_checked(window), resends=True) if not window.startswith("{{") else None
    return None


def is_name(name: str) -> bool:
    """Whether a client may name a chat so."""
    return _NAME.fullmatch(name) is not None and not name.startswith(NAMELESS)


def named(chat: str | None) -> str | None:
    """What a client is told that its chat is called; None for one that is known by its history alone."""
    return chat if chat is not None and is_name(chat) else None


def _checked(name: str) -> str:
    if not is_name(name):
        raise invalid(f"a chat is named by 1 to 200 printable characters, not {name[:40]!r}", "scenepipe.chat")
    return name


class Places:
    """Finds the place of turns in one archive, for one namespace."""

    def __init__(self, archive: Archive, namespace: str, most_turns: int) -> None:
        self._archive = archive
        self._namespace = namespace
        self._most_turns = most_turns

    async def of(
        self,
        key: ChatKey | None,
        talk: Conversation,
        *,
        run: str,
        user: str | None,
        parent: str | None = None,
        lost: ApiError | None = None,
    ) -> Place:
        """The place of a turn.

        Args:
            parent: the encounter that it follows, where the client says so; ``none`` for the root.
            lost: what is raised where the chat has no such encounter; a 404 by default.

        Raises:
            ApiError: the chat has no such encounter.
        """
        history = [(turn.text, turn.reply.strip() if turn.reply else turn.reply) for turn in talk.turns]
        chat, log = await self._chat(key, talk, history, user)
        by_id = {encounter.id: encounter for encounter in log}
        if parent not in (None, ROOT) and parent not in by_id:
            raise lost or _no_parent(chat.name, parent)
        resends = bool(history) or (key.resends if key else True)
        origin = self._going_on(chat, log, talk, parent)
        origin = origin or self._origin(chat, history, talk.text, parent, resends=resends)
        before = chat.before(origin) if by_id else ()
        told = talk.turns or (() if resends else await chats.texts(self._archive, before[-self._most_turns :]))
        by_words = (
            key is None and not history
        )  # what tools gave may differ under the same words: nothing is answered again
        answer = chat.steps(origin.parent)[-1].spoken if origin.regenerate else None
        return Place(
            origin=origin.model_copy(update={"run": run, "user": user}),
            turns=tuple(told[-self._most_turns :]) if self._most_turns else (),
            style=_style(before, by_id),
            resends=resends,
            answered=None if by_words else by_id.get(answer or "") or self._newest_answer(log, origin),
        )

    async def replayed(self, text: str, run: str) -> Encounter | None:
        """The stored answer of a run, where a request is sent again under its own name (``Idempotency-Key``)."""
        found = await self._archive.encounters([scene_id(text, self._namespace)])
        return next((e for e in found if e.kind == "spoken" and e.run == run), None)

    def _newest_answer(self, log: Sequence[Encounter], origin: Origin) -> Encounter | None:
        if not origin.regenerate:
            return None
        return next((e for e in reversed(log) if e.kind == "spoken" and e.data.get("parent") == origin.parent), None)

    def _going_on(
        self, chat: chats.Chat, log: Sequence[Encounter], talk: Conversation, parent: str | None
    ) -> Origin | None:
        """Where the results of tools belong: to the meeting of the text that they were called for, which is met once.

        None where the turn is a new one, or where the history tells.
        """
        if not talk.goes_on or (talk.turns and parent is None):
            return None
        scene = scene_id(talk.text, self._namespace)
        met = [e for e in log if e.kind == "met" and e.scene_id == scene]
        if parent is not None:
            met = [e for e in met if e.data.get("parent") == (None if parent == ROOT else parent)]
        found = _waiting(met, log)
        return None if found is None else chat.regenerate(chat.steps(found.id)[-1])

    def _origin(self, chat: chats.Chat, history: _History, text: str, parent: str | None, *, resends: bool) -> Origin:
        if parent is not None and parent != ROOT:
            return chat.follow(parent)
        if parent == ROOT or not resends:
            return chat.follow() if parent is None else self._root(chat)
        count, tip = chat.matched([*history, (text, None)])
        if count == len(history) + 1 and tip is not None:
            return chat.regenerate(chat.steps(tip)[-1])
        return chat.follow(tip) if tip is not None else self._root(chat)

    def _root(self, chat: chats.Chat) -> Origin:
        return Origin(namespace=self._namespace, chat=chat.name, turn=chats.FIRST_TURN)

    async def _chat(self, key: ChatKey | None, talk: Conversation, history: _History, user: str | None) -> _Known:
        """A chat and its log, oldest first; a new one where its history is not known."""
        name = key.name if key is not None else await self._begun(talk, user)
        if name is not None:
            return await self._read(name)
        best: _Known = (chats.Chat(NAMELESS + uuid.uuid4().hex, (), namespace=self._namespace), ())
        most = 0
        for name in await self._alike(history):
            found = await self._read(name)
            count, _ = found[0].matched(history)
            if count > most:
                best, most = found, count
        return best

    async def _begun(self, talk: Conversation, user: str | None) -> str | None:
        """The chat that no client named, in which a first text of this user waits for what its tools gave."""
        if not talk.goes_on or talk.turns:
            return None
        found = await self._archive.encounters([scene_id(talk.text, self._namespace)])
        first = [e for e in found if e.kind == "met" and e.user == user and "parent" not in e.data]
        met = [e for e in first if e.chat and e.chat.startswith(MADE)]
        newest = _waiting(met, found)
        return None if newest is None else newest.chat

    async def _read(self, name: str) -> _Known:
        log = await self._archive.chat(name, namespace=self._namespace)
        return chats.Chat(name, log, namespace=self._namespace), log

    async def _alike(self, history: _History) -> list[str]:
        """Nameless chats that begin with the same turn, the newest first."""
        if not history:
            return []
        text, reply = history[0]
        found = await self._archive.encounters([scene_id(text, self._namespace)])
        names = [
            e.chat
            for e in reversed(found)
            if e.kind == "spoken" and e.chat and e.chat.startswith(NAMELESS) and e.data.get("text") == reply
        ]
        return list(dict.fromkeys(names))[:CANDIDATES]


def _waiting(met: Sequence[Encounter], log: Sequence[Encounter]) -> Encounter | None:
    """The newest of these meetings that has no answer yet; the newest of all where each has one."""
    answered = {e.data.get("parent") for e in log if e.kind == "spoken"}
    return max(met, key=lambda e: (e.id not in answered, e.at, e.id), default=None)


def _no_parent(chat: str, parent: str | None) -> ApiError:
    message = f"chat '{chat[:80]}' has no encounter '{parent}'; ask without one to follow its newest branch"
    return ApiError(404, message, param="scenepipe.parent", code="parent_not_found")


def _style(before: Sequence[chats.Step], by_id: Mapping[str, Encounter]) -> Mapping[str, Any]:
    """The newest style that a turn of the branch was remembered with."""
    for step in reversed(before):
        met = by_id.get(step.met)
        style = met.data.get("style") if met is not None else None
        if isinstance(style, dict):
            return style
    return {}
