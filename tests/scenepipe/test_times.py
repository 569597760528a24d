"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scenepipe.times import at_time, parse_time

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T14:30+02:00", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)),
        (" 2026-05-01T14:30 ", datetime(2026, 5, 1, 14, 30, tzinfo=UTC)),
        ("30d", timedelta(days=30)),
        ("12 H", timedelta(hours=12)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("8w", timedelta(weeks=8)),
    ],
)
def test_a_date_a_time_or_an_age(given: str, expected: datetime | timedelta) -> None:
    assert parse_time(given) == expected


@pytest.mark.parametrize(
    "given", ["", "yesterday", "30", "30y", "-3d", "2026-13-01", "12:30", "٣d\n; DROP", "9" * 99 + "d"]
)
def test_what_is_neither_is_refused_with_the_forms_there_are(given: str) -> None:
    with pytest.raises(ValueError, match="is no time; give a date"):
        parse_time(given)


def test_an_age_is_counted_back() -> None:
    assert at_time("2h", NOW) == NOW - timedelta(hours=2)
    assert at_time("2020-01-01", NOW) == datetime(2020, 1, 1, tzinfo=UTC)
    assert at_time("999999w", NOW) == datetime.min.replace(tzinfo=UTC)
