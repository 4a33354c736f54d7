"""Numbers as their source wrote them: no price ever passes through a float."""

import json
from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from typing import Any, NoReturn

from gatewaydb.errors import InvalidValueError

PRICE_MAX = Decimal(10) ** 9
"""No price of one unit reaches a thousand million; a greater number is a mistake of its source."""
PRICE_MAX_DECIMALS = 60
"""Finer than any price: the bound keeps a hostile `1e-999999` from making sums of a million digits."""

EXACT = Context(prec=500, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
"""All money is computed here. 500 digits hold any product of prices and counts within the limits, so
nothing is ever rounded; if something were, the trap would raise."""

ZERO = Decimal(0)
ONE = Decimal(1)

_FLOAT_DIGITS = 15  # what a 64-bit float can promise; digits after these are noise of its printing
_ARTEFACT_DIGITS = 12  # a price that needs no more than these was meant to be this short


class PriceValueError(InvalidValueError):
    """A number that is no price: negative, not finite, out of bounds, or no number at all."""


class NumberText(str):
    """A JSON number, kept as its literal text (`5e-07`, `0`); a JSON string stays a plain `str`."""

    __slots__ = ()


def decode_entries(data: str | bytes) -> dict[str, dict[str, Any]]:
    """Decode a price file in LiteLLM's form: an object of entries by model name.

    Every number in it becomes a `NumberText`. InvalidValueError if it is no JSON, is cut off, holds
    NaN or infinity, names a key twice, or an entry is no object.
    """
    try:
        entries = json.loads(
            data,
            parse_float=NumberText,
            parse_int=NumberText,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_pairs,
        )
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValueError(f"the price file is not valid JSON: {error}") from error
    if not isinstance(entries, dict):
        raise InvalidValueError("the price file must be an object of entries by model name")
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise InvalidValueError(f"the price file's entry {name!r} must be an object")
    return entries


def price_of(value: object, field: str) -> tuple[Decimal, str]:
    """The exact price and the text it came as, of a `NumberText`, `Decimal`, `int` or a number in text.

    InvalidValueError, naming `field`, for anything else: a float, a bool, NaN, infinity, a negative.
    """
    if isinstance(value, bool) or not isinstance(value, (str, Decimal, int)):
        kind = type(value).__name__
        raise PriceValueError(f"{field}: a price must be a Decimal, an int or a number in text, not {kind} {value!r}")
    text = str(value)
    return _decimal_of(text, isinstance(value, NumberText), field), text


@lru_cache(maxsize=8192)
def _decimal_of(text: str, printed_by_float: bool, field: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise PriceValueError(f"{field}: {text!r} is not a number") from None
    check_price(price, field)
    return _without_float_artefact(price) if printed_by_float else price


def check_price(price: Decimal, field: str) -> None:
    """InvalidValueError, naming `field`, unless the price is finite, not negative and within the limits."""
    if not price.is_finite() or price.is_signed() or price >= PRICE_MAX:
        raise PriceValueError(f"{field}: a price must be at least 0 and below {PRICE_MAX:.0f}, not {price}")
    if decimals_of(price) > PRICE_MAX_DECIMALS:
        raise PriceValueError(f"{field}: a price has at most {PRICE_MAX_DECIMALS} decimals")


def decimals_of(number: Decimal) -> int:
    """How many digits stand behind the point of a finite number."""
    exponent = number.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _without_float_artefact(price: Decimal) -> Decimal:
    """`5.0000000000000004E-8` is 5E-8 that went through a float; `3.3333333333333335E-5` is 1/30000, and stays."""
    if len(price.as_tuple().digits) <= _FLOAT_DIGITS:
        return price
    rounded = Context(prec=_FLOAT_DIGITS).plus(price).normalize()
    return rounded if len(rounded.as_tuple().digits) <= _ARTEFACT_DIGITS else price


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidValueError(f"the price file holds {name}, which is no price")


def _unique_pairs(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidValueError(f"the price file names {key!r} twice in one object")
        found[key] = value
    return found
