"""What a value must be before any engine sees it: each check returns the value as it will be stored.

All raise InvalidValueError with the field's name, so that bad input fails alike on both engines, before a driver.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec

from gatewaydb.config import COST_MAX_USD, COUNT_MAX, METADATA_MAX_BYTES, NAME_MAX_CHARS, PAGE_MAX_ROWS
from gatewaydb.entities.frozen import EMPTY, MAPPING, FrozenDict, frozen
from gatewaydb.errors import InvalidValueError

_PICODOLLAR = Decimal("1e-12")
_EXACT = Context(prec=60)
_FLAT = frozenset((str, int, bool, type(None)))
_TEXT = frozenset((str,))
_MONEY = (Decimal, int, str)
_ZERO = Decimal(0)
_NUL_IN_JSON = "\\u0000"
_NUMBER, _SEQUENCE = (int, float), (list, tuple)


def text(field: str, value: Any, max_chars: int = NAME_MAX_CHARS) -> str:
    """Not empty, no longer than `max_chars`, storable as UTF-8, without NUL."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{field}: must be text, not {type(value).__name__}")
    if not value.strip():
        raise InvalidValueError(f"{field}: must not be empty")
    return free_text(field, value, max_chars)


def free_text(field: str, value: str, max_chars: int) -> str:
    """As `text`, but it may be empty."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{field}: must be text, not {type(value).__name__}")
    if len(value) > max_chars:
        raise InvalidValueError(f"{field}: has {len(value)} characters, {max_chars} are the most")
    if "\0" in value:
        raise InvalidValueError(f"{field}: must not hold a NUL character")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise InvalidValueError(f"{field}: holds half a surrogate pair, which is no text")
    return value


def optional_text(field: str, value: Any, max_chars: int = NAME_MAX_CHARS) -> str | None:
    """None, or text."""
    return None if value is None else text(field, value, max_chars)


def identifier(field: str, value: Any) -> UUID:
    """A UUID; its text is taken, too."""
    if type(value) is UUID:
        return value
    if isinstance(value, UUID):  # a driver's own kind, which another driver may not know
        return UUID(int=value.int)
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise InvalidValueError(f"{field}: must be a UUID") from None


def optional_identifier(field: str, value: Any) -> UUID | None:
    """None, or a UUID."""
    return None if value is None else identifier(field, value)


def boolean(field: str, value: Any) -> bool:
    """True or False, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise InvalidValueError(f"{field}: must be True or False")
    return value


def count(field: str, value: Any, minimum: int = 0, maximum: int = COUNT_MAX) -> int:
    """A whole number from `minimum` to `maximum`."""
    if type(value) is int and minimum <= value <= maximum:
        return value  # as nearly all are
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValueError(f"{field}: must be a whole number, not {type(value).__name__}")
    if not minimum <= value <= maximum:
        raise InvalidValueError(f"{field}: must be from {minimum} to {maximum}")
    return value


def optional_count(field: str, value: Any, minimum: int = 0, maximum: int = COUNT_MAX) -> int | None:
    """None, or a whole number."""
    return None if value is None else count(field, value, minimum, maximum)


def instant(field: str, value: Any) -> datetime:
    """A timezone-aware datetime, turned to UTC."""
    if not isinstance(value, datetime):
        raise InvalidValueError(f"{field}: must be a datetime, not {type(value).__name__}")
    if value.tzinfo is UTC:
        return value
    if value.utcoffset() is None:
        raise InvalidValueError(f"{field}: must have a time zone")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidValueError(f"{field}: is outside the years 1 to 9999 in UTC") from None


def optional_instant(field: str, value: Any) -> datetime | None:
    """None, or a timezone-aware datetime."""
    return None if value is None else instant(field, value)


def money(field: str, value: Any, maximum: int = COST_MAX_USD) -> Decimal:
    """US dollars from 0 to `maximum`, rounded half to even at 1e-12; Decimal, int or text, never float."""
    if isinstance(value, bool) or not isinstance(value, _MONEY):
        raise InvalidValueError(f"{field}: must be a Decimal, not {type(value).__name__}")
    try:
        amount = value if type(value) is Decimal else Decimal(value)
    except InvalidOperation:
        raise InvalidValueError(f"{field}: {value!r} is no amount of money") from None
    if not amount.is_finite():
        raise InvalidValueError(f"{field}: must be finite")
    if not _ZERO <= amount <= maximum:
        raise InvalidValueError(f"{field}: must be from 0 to {maximum} USD")
    return amount.quantize(_PICODOLLAR, ROUND_HALF_EVEN, _EXACT)


def optional_money(field: str, value: Any, maximum: int = COST_MAX_USD) -> Decimal | None:
    """None, or US dollars."""
    return None if value is None else money(field, value, maximum)


def names(field: str, value: Any, max_items: int) -> tuple[str, ...]:
    """A sequence of texts (never one text), or None for none."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidValueError(f"{field}: must be a list of names")
    listed = tuple(text(field, item) for item in value)
    if len(listed) > max_items:
        raise InvalidValueError(f"{field}: has {len(listed)} names, {max_items} are the most")
    return listed


def json_object(field: str, value: Any) -> FrozenDict:
    """A mapping of what JSON holds, frozen; None is the empty one."""
    if value is None or value is EMPTY:
        return EMPTY
    if not isinstance(value, MAPPING):
        raise InvalidValueError(f"{field}: must be a mapping, not {type(value).__name__}")
    if _simple_json(value) is not None:
        return FrozenDict(value)
    _storable(field, value)
    try:
        size = len(msgspec.json.encode(value))
    except (TypeError, ValueError, UnicodeError, RecursionError, msgspec.MsgspecError):
        raise InvalidValueError(f"{field}: holds what JSON cannot") from None
    if size > METADATA_MAX_BYTES:
        raise InvalidValueError(f"{field}: takes {size} bytes as JSON, {METADATA_MAX_BYTES} are the most")
    result = frozen(value)
    assert isinstance(result, FrozenDict)
    return result


def json_object_text(field: str, value: Any) -> str | None:
    """As json_object, but the text as which it is stored; None is the empty one."""
    if value and isinstance(value, MAPPING) and (simple := _simple_json(value)) is not None:
        return simple
    checked = json_object(field, value)
    return msgspec.json.encode(checked).decode() if checked else None


def page(limit: Any, offset: Any) -> tuple[int, int]:
    """The bounds of one page of a list."""
    return count("limit", limit, 1, PAGE_MAX_ROWS), count("offset", offset)


def _simple_json(value: Mapping[Any, Any]) -> str | None:
    """Its JSON where it is seen at a glance that all is well, as with most: there is nothing to freeze."""
    if not (_FLAT.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value))):
        return None
    try:
        encoded = msgspec.json.encode(value)
    except (ValueError, UnicodeError):
        return None
    decoded = encoded.decode()  # in text, NUL is sought ten times as fast
    return decoded if len(encoded) <= METADATA_MAX_BYTES and _NUL_IN_JSON not in decoded else None


def _storable(field: str, value: Any, depth: int = 0) -> None:
    if depth > 50:
        raise InvalidValueError(f"{field}: is nested more than 50 levels deep")
    if isinstance(value, str):
        free_text(field, value, METADATA_MAX_BYTES)
    elif value is None or isinstance(value, _NUMBER):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidValueError(f"{field}: must not hold NaN or infinity")
    elif isinstance(value, MAPPING):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidValueError(f"{field}: its keys must be text")
            free_text(field, key, METADATA_MAX_BYTES)
            _storable(field, item, depth + 1)
    elif isinstance(value, _SEQUENCE):
        for item in value:
            _storable(field, item, depth + 1)
    else:
        raise InvalidValueError(f"{field}: holds a {type(value).__name__}, which JSON does not know")
