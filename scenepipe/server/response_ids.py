"""Ids of the Responses API: they lead back to a turn of a chat, so that nothing has to be kept beside the archive."""

from __future__ import annotations

import base64
import binascii
import re

from scenepipe.server.places import is_name
from scenepipe.server.problem import ApiError

PREFIX = "resp_"
_ID = re.compile(r"resp_([0-9a-f]{32})_([A-Za-z0-9_-]+)")


def response_id(tip: str, chat: str) -> str:
    """The id of an answer.

    Args:
        tip: the encounter of the answer, a UUID.
        chat: the chat's name.
    """
    name = base64.urlsafe_b64encode(chat.encode()).decode().rstrip("=")
    return f"{PREFIX}{tip.replace('-', '')}_{name}"


def parse(given: str) -> tuple[str, str]:
    """Encounter and chat of an id.

    Raises:
        ApiError: it is none of ours.
    """
    found = _ID.fullmatch(given)
    if found is None:
        raise not_found(given)
    tip, name = found.groups()
    try:
        chat = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise not_found(given) from None
    if not is_name(chat):
        raise not_found(given)
    return f"{tip[:8]}-{tip[8:12]}-{tip[12:16]}-{tip[16:20]}-{tip[20:]}", chat


def not_found(given: str) -> ApiError:
    """400, as the API has it, for an id that leads nowhere."""
    message = f"there is no stored response '{given[:80]}' that this key can go on from"
    return ApiError(400, message, param="previous_response_id", code="previous_response_not_found")
