"""Times as the command line takes them."""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import UTC, datetime, timedelta

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}


def moment(text: str) -> datetime:
    """The time that an argument names; raises ArgumentTypeError."""
    from lineage.service.intake import parse_time

    if time := parse_time(text):
        return time
    raise argparse.ArgumentTypeError(f"{text!r} is no time with a zone; write 2013-03-01T12:00:00Z")


def moment_past(text: str) -> datetime:
    """A time that is over, or by how long ago it was (90d); raises ArgumentTypeError."""
    from lineage.service.intake import parse_time

    now, number, unit = datetime.now(UTC), text[:-1], _UNITS.get(text[-1:])
    if unit and number.isascii() and number.isdigit():
        with suppress(OverflowError):
            return now - int(number) * unit
    elif (time := parse_time(text)) and time <= now:
        return time
    raise argparse.ArgumentTypeError(
        f"{text!r} is no age and no time in the past; write 4w, 90d, 12h, 30m or 45s, or 2026-01-01T00:00:00Z"
    )
