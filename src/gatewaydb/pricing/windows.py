"""Times of the week at which a price holds."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.components import Window

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def open_at(windows: tuple[Window, ...], weekday_timezone: str | None, at: datetime) -> bool:
    """Whether any window is open: its hours are read in UTC, its weekdays on the calendar of the time zone."""
    utc = at.astimezone(UTC)
    minute = utc.hour * 60 + utc.minute
    day = (at.astimezone(_zone(weekday_timezone)) if weekday_timezone else utc).isoweekday()
    return any(
        (not window.weekdays or day in window.weekdays) and any(_covers(hours, minute) for hours in window.hours)
        for window in windows
    )


def check_hours(window: Window) -> None:
    """InvalidValueError unless hours and weekdays can be read."""
    for hours in window.hours:
        _minutes(hours)
    if not window.hours or not all(1 <= day <= 7 for day in window.weekdays):
        raise InvalidValueError(f"off_peak_pricing: needs hours, and weekdays of 1 to 7, not {window}")


def check_timezone(name: str | None) -> None:
    """InvalidValueError unless this machine knows the time zone."""
    if name is not None:
        _zone(name)


def _covers(hours: str, minute: int) -> bool:
    """From the start up to, and without, the end; past midnight if the end comes first; all day if they are equal."""
    start, end = _minutes(hours)
    return start <= minute < end if start < end else minute >= start or minute < end


@lru_cache(maxsize=1024)
def _minutes(hours: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(hours)
    if match is None:
        raise InvalidValueError(f"off_peak_pricing: hours must be HH:MM-HH:MM, not {hours!r}")
    start_hour, start_minute, end_hour, end_minute = map(int, match.groups())
    return start_hour * 60 + start_minute, end_hour * 60 + end_minute


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # KeyError: ZoneInfoNotFoundError
        raise InvalidValueError(f"off_peak_pricing: this machine knows no time zone {name!r}") from error
