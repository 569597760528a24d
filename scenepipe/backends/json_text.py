"""Whether a text is JSON, or can still become it: engines that cannot compile a schema generate freely without a word."""

from __future__ import annotations

import json

_STARTS = frozenset('{["-0123456789tfn')


def begins_json(text: str) -> bool:
    """Whether a text begins as a JSON value does; one of spaces alone may."""
    begun = text.lstrip()
    return not begun or begun[0] in _STARTS


def is_json(text: str) -> bool:
    """Whether a text is one whole JSON value."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
