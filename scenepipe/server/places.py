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
PARENT_HEADER = "x-scenepipe-parent"
WINDOW_HEADERS = ("x-openwebui-chat-id", "x-conversation-id")
NAMELESS = "history:"
"""What names of chats begin with that are known by their history alone."""
ROOT = "none"
CANDIDATES = 8
"""Chats with the same first turn that are compared, the newest."""
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_History = Sequence[tuple[str, str | None]]


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


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name.startswith(NAMELESS):
        raise invalid(f"a chat is named by 1 to 200 printable characters, not {name[:40]!r}", "scenepipe.chat")
    return name


class Places:
    """Finds the place of turns in one archive, for one namespace."""

    def __init__(self, archive: Archive, namespace: str, most_turns: int) -> None:
        self._archive = archive
        self._namespace = namespace
        self._most_turns = most_turns

    async def of(
        self, key: ChatKey | None, talk: Conversation, *, run: str, user: str | None, parent: str | None = None
    ) -> Place:
        """The place of a turn.

        Args:
            parent: the encounter that it follows, where the client says so; ``none`` for the root.

        Raises:
            ApiError: 404 where the chat has no such encounter.
        """
        history = [(turn.text, turn.reply.strip() if turn.reply else turn.reply) for turn in talk.turns]
        name, log = await self._log(key, history)
        chat = chats.Chat(name, log, namespace=self._namespace)
        by_id = {encounter.id: encounter for encounter in log}
        resends = bool(history) or (key.resends if key else True)
        origin = self._origin(chat, history, talk.text, parent, by_id, resends=resends)
        before = chat.before(origin) if by_id else ()
        told = talk.turns or (() if resends else await chats.texts(self._archive, before[-self._most_turns :]))
        answer = chat.steps(origin.parent)[-1].spoken if origin.regenerate else None
        return Place(
            origin=origin.model_copy(update={"run": run, "user": user}),
            turns=tuple(told[-self._most_turns :]) if self._most_turns else (),
            style=_style(before, by_id),
            resends=resends,
            answered=by_id.get(answer or "") or self._newest_answer(log, origin),
        )

    async def replayed(self, text: str, run: str) -> Encounter | None:
        """The stored answer of a run, where a request is sent again under its own name (``Idempotency-Key``)."""
        found = await self._archive.encounters([scene_id(text, self._namespace)])
        return next((e for e in found if e.kind == "spoken" and e.run == run), None)

    def _newest_answer(self, log: Sequence[Encounter], origin: Origin) -> Encounter | None:
        if not origin.regenerate:
            return None
        return next((e for e in reversed(log) if e.kind == "spoken" and e.data.get("parent") == origin.parent), None)

    def _origin(
        self,
        chat: chats.Chat,
        history: _History,
        text: str,
        parent: str | None,
        known: Mapping[str, Encounter],
        *,
        resends: bool,
    ) -> Origin:
        if parent is not None and parent != ROOT and parent not in known:
            message = (
                f"chat '{chat.name[:80]}' has no encounter '{parent}'; ask without one to follow its newest branch"
            )
            raise ApiError(404, message, param="scenepipe.parent", code="parent_not_found")
        if parent is not None and parent != ROOT:
            return chat.follow(parent)
        if parent == ROOT or not resends:
            return chat.follow() if parent is None else self._root(chat)
        count, met = chat.matched([*history, (text, None)])
        if count == len(history) + 1 and met is not None:
            return chat.regenerate(chat.steps(met)[-1])
        _, tip = chat.matched(history)
        return chat.follow(tip) if tip is not None else self._root(chat)

    def _root(self, chat: chats.Chat) -> Origin:
        return Origin(namespace=self._namespace, chat=chat.name, turn=chats.FIRST_TURN)

    async def _log(self, key: ChatKey | None, history: _History) -> tuple[str, list[Encounter]]:
        """The chat's name and its log, oldest first; a new name where its history is not known."""
        if key is not None:
            return key.name, list(await self._archive.chat(key.name, namespace=self._namespace))
        best: tuple[int, str, list[Encounter]] = (0, "", [])
        for name in await self._alike(history):
            log = list(await self._archive.chat(name, namespace=self._namespace))
            count, _ = chats.Chat(name, log, namespace=self._namespace).matched(history)
            if count > best[0]:
                best = (count, name, log)
        return (best[1], best[2]) if best[0] else (NAMELESS + uuid.uuid4().hex, [])

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


def _style(before: Sequence[chats.Step], by_id: Mapping[str, Encounter]) -> Mapping[str, Any]:
    """The newest style that a turn of the branch was remembered with."""
    for step in reversed(before):
        met = by_id.get(step.met)
        style = met.data.get("style") if met is not None else None
        if isinstance(style, dict):
            return style
    return {}
