"""Settings from text, or refused by name."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import durationpy

from gatewaydb.errors import ConfigurationError


def _duration(name: str, value: Any) -> timedelta:
    if isinstance(value, str):
        try:
            value = durationpy.from_str(value)
        except (durationpy.DurationError, ValueError, OverflowError):
            raise ConfigurationError(f"{name}: {value!r} is no duration such as '5m' or '1h30m'") from None
    if not isinstance(value, timedelta):
        raise ConfigurationError(f"{name}: must be a timedelta or text such as '5m', not {type(value).__name__}")
    if value < timedelta(0):
        raise ConfigurationError(f"{name}: must not be negative")
    return value


def _integer(name: str, value: Any) -> int:
    if isinstance(value, str) and value.strip().lstrip("-").isascii() and value.strip().lstrip("-").isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError(f"{name}: must be a whole number, not {value!r}")
    if not 0 <= value < 2**31:
        raise ConfigurationError(f"{name}: must be from 0 to {2**31 - 1}")
    return value


def _port(name: str, value: Any) -> int | None:
    if value is None:
        return None
    port = _integer(name, value)
    if not 1 <= port <= 65_535:
        raise ConfigurationError(f"{name}: must be from 1 to 65535")
    return port


def _boolean(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ConfigurationError(f"{name}: must be true or false")
    return text in ("true", "1", "yes", "on")


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name}: must be text, not {type(value).__name__}")
    if value is not None and "\0" in value:
        raise ConfigurationError(f"{name}: must not hold a NUL character")
    return value


CONVERT: dict[Any, Callable[[str, Any], Any]] = {
    timedelta: _duration,
    int: _integer,
    bool: _boolean,
    int | None: _port,
    str: _text,
    str | None: _text,
}
"""By the type of the setting."""
