"""Requests of a chat window for itself: titles, tags, follow-up questions. They are answered, and are no scenes.

Stored, they would fill the memory with scenes that nobody ever met. A client that can says so by a header; the others are
known by how their shipped templates begin, which are all in English, whatever the language of the chat.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers

TASK_HEADERS = ("x-openwebui-task", "x-scenepipe-task")
"""Open WebUI's header templates have ``{{TASK}}``, which is empty for a chat."""
LONGEST = 60_000

_TASK = re.compile(r"\s*#{1,3} Task:\s", re.IGNORECASE)
_TASK_ON_A_CHAT = re.compile(r"<chat_history>|\bchat history\b|<text>|<type>", re.IGNORECASE)
_ABOUT_THE_CHAT = re.compile(
    r"""\s*(?:
        (?:generate|provide|create|write|suggest|please\ provide)\ (?:me\ )?(?:a|an)\ (?:[\w,-]+\ ){0,6}?(?:title|topic\ name)\b
      | (?:generate|suggest)\ (?:\w+(?:-\w+)?\ ){0,4}(?:tags?|follow-?up\ questions)\b
      | \[?(?:pause\ your\ roleplay|ignore\ previous\ instructions)\b.{0,80}summari[sz]e
      | your\ task\ is\ to\ reflect\ the\ speaker's\ likely\ facial\ expression
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CHAT_MENTIONED = re.compile(r"\b(?:conversation|chat|roleplay|message|messages|dialogue|dialog)\b", re.IGNORECASE)


def task_of(headers: Headers, text: str) -> str | None:
    """What a request is for, if it is for the window and not for the person; ``task`` where only its words tell."""
    for name in TASK_HEADERS:
        given = headers.get(name, "").strip()
        if given and not given.startswith("{{"):  # a template that its sender did not fill in
            return given[:40]
    head = text[:LONGEST]
    if _TASK.match(head) and _TASK_ON_A_CHAT.search(head):
        return "task"
    if _ABOUT_THE_CHAT.match(head) and _CHAT_MENTIONED.search(head):
        return "task"
    return None
