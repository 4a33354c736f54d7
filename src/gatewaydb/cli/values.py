"""What people write on a command line, as values: moments, months, lists, pairs. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated
from uuid import UUID

import durationpy
from cyclopts import Parameter, Token

from gatewaydb.cli.errors import UsageError
from gatewaydb.config import BUDGET_MAX_USD
from gatewaydb.entities import checks

EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def future(option: str, text: str, now: datetime) -> datetime:
    """`2027-01-01`, `2027-01-01T12:00+02:00`, or `90d` from now. Times without a zone are UTC."""
    return _moment(option, text, now, 1)


def past(option: str, text: str, now: datetime) -> datetime:
    """As `future`; a duration counts back from now."""
    return _moment(option, text, now, -1)


def time_range(since: str | None, until: str | None) -> tuple[datetime, datetime]:
    """From `since` to before `until`; without them, all there is."""
    now = datetime.now(UTC)
    start = EARLIEST if since is None else past("--since", since, now)
    end = LATEST if until is None else past("--until", until, now)
    if start > end:
        raise UsageError("--since: must not be after --until")
    return start, end


def month(text: str | None) -> tuple[int, int]:
    """(year, month) of `2026-11`; of now, UTC, where there is none."""
    if text is None:
        now = datetime.now(UTC)
        return now.year, now.month
    found = re.fullmatch(r"(\d{4})-(\d{1,2})", text)
    if found is None or not 1 <= int(found[2]) <= 12:
        raise UsageError(f"--month: {text!r} is no month such as 2026-11")
    return int(found[1]), int(found[2])


def whole(_: type, tokens: Sequence[Token]) -> int:
    """A whole number, for cyclopts, which alone would round 1.5."""
    text = tokens[0].value
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def number(_: type, tokens: Sequence[Token]) -> Decimal:
    """A decimal number, for cyclopts."""
    try:
        return Decimal(tokens[0].value)
    except InvalidOperation:
        raise ValueError(f"{tokens[0].value!r} is no number") from None


Whole = Annotated[int, Parameter(converter=whole)]
"""The type of a parameter that is a whole number."""


def identifier(option: str, text: str) -> UUID:
    """An id."""
    return checks.identifier(option, text)


def money(option: str, text: str) -> Decimal:
    """US dollars."""
    return checks.money(option, text.removeprefix("$"), BUDGET_MAX_USD)


def names(option: str, text: str) -> tuple[str, ...]:
    """`gpt-4o,openai/*` as two names."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise UsageError(f"{option}: names nothing")
    return found


def pairs(what: str, texts: Iterable[str]) -> dict[str, str]:
    """`key=value`, several times."""
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"{what}: {text!r} is not of the form key=value")
        found[key] = value
    return found


def metadata(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """`type.key=value`, several times, as {type: {key: value}}. The first dot parts type and key."""
    found: dict[str, dict[str, str]] = {}
    for name, value in pairs("metadata", texts).items():
        kind, key = metadata_name(name)
        found.setdefault(kind, {})[key] = value
    return found


def metadata_name(text: str) -> tuple[str, str]:
    """(type, key) of `type.key`."""
    kind, dot, key = text.partition(".")
    if not (kind and dot and key):
        raise UsageError(f"metadata: {text!r} is not of the form type.key")
    return kind, key


def _moment(option: str, text: str, now: datetime, direction: int) -> datetime:
    duration = _duration(text)
    try:
        if duration is not None:
            return now + direction * duration
        moment = datetime.fromisoformat(text)
        # Some moments of the years 1 and 9999 are outside of them in UTC.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option}: {text!r} is neither a time such as 2027-01-01 or 2027-01-01T12:00Z, nor a duration such as 90d"
        ) from None


def _duration(text: str) -> timedelta | None:
    if not re.fullmatch(r"[\d.]+[a-z]+[\da-z.]*", text):
        return None
    try:
        return durationpy.from_str(text)
    except (durationpy.DurationError, ValueError, OverflowError):
        return None
