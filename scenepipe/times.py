"""Points in time as people write them: a date, a date with a time, or an age."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGE = re.compile(r"([0-9]{1,6})\s*([smhdw])", re.IGNORECASE)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(given: str) -> datetime | timedelta:
    """``2026-05-01``, ``2026-05-01T12:30+02:00`` (without a zone it is UTC), or an age such as ``30d`` or ``12h``.

    Raises:
        ValueError: it is neither.
    """
    text = given.strip()
    if age := _AGE.fullmatch(text):
        return timedelta(**{_UNITS[age[2].lower()]: int(age[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{given[:40]!r} is no time; give a date (2026-05-01), a date with a time (2026-05-01T12:30), "
            "or an age (90s, 30m, 12h, 30d, 8w)"
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def at_time(given: str, now: datetime) -> datetime:
    """The point in time that `parse_time` finds; an age is counted back from ``now``, to the year 1 at most.

    Raises:
        ValueError: it is neither time nor age.
    """
    found = parse_time(given)
    if isinstance(found, datetime):
        return found
    return now - found if found <= now - datetime.min.replace(tzinfo=UTC) else datetime.min.replace(tzinfo=UTC)
