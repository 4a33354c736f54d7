"""Prices as people write and read them. Pure."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from gatewaydb import InvalidValueError, Model, PriceComponent, PriceSheet
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.output import visible
from gatewaydb.entities.base import utc_now
from gatewaydb.pricing import components_of
from gatewaydb.pricing.litellm import BASES, parse_field
from gatewaydb.pricing.literals import EXACT
from gatewaydb.repositories.model_search import rank

if TYPE_CHECKING:
    from gatewaydb.catalog import PriceChange

WARNING = "bold yellow"

_SHORT = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache-read": "cache_read_input_token_cost",
    "cache-write": "cache_creation_input_token_cost",
}
_WHOLE_TABLES = ("tiered_pricing", "off_peak_pricing")
_PER_MILLION = "/M"
_THRESHOLD = re.compile(r"_above_\d+k?_tokens")


def price_components(texts: Iterable[str], litellm_provider: str | None) -> tuple[PriceComponent, ...]:
    """`input_cost_per_token=0.0000025` or `input=2.50/M`, several times: a price for each, and for nothing else.

    Raises UsageError for what is no price field, for no price, and for a field that is named twice.
    """
    found: dict[str, PriceComponent] = {}
    for text in texts:
        field, price = _field_and_price(text)
        if field in found:
            raise UsageError(f"{field}: is given twice")
        found[field] = _component(field, price, litellm_provider)
    return tuple(found.values())


def prices_in_force(sheet: PriceSheet) -> list[PriceComponent]:
    """Those of now, without the catalog's where one that was set by hand holds over it."""
    now = utc_now()
    valid = sorted((price for price in sheet if price.valid_at(now)), key=lambda price: price.origin == "operator")
    return list({price.subject: price for price in valid}.values())


def amount(price: PriceComponent) -> str:
    """`2.5 USD / 1M token`, or `x 1.1`."""
    if price.combine == "multiply":
        return f"x {price.price:f}"
    per, many = (1_000_000, "1M ") if price.unit == "token" else (1, "")
    return f"{(price.rate * per).normalize():f} {price.currency} / {many}{price.unit}"


def what_for(price: PriceComponent) -> str:
    """`input audio cache_read`: what it prices."""
    return " ".join(word for word in (price.direction, price.modality, price.kind) if word not in ("none", "any"))


def when(price: PriceComponent) -> str:
    """The condition under which it holds."""
    return ", ".join(f"{name}: {value}" for name, value in msgspec.to_builtins(price.condition).items()) or "always"


def origin_text(price: PriceComponent, model: Model) -> str:
    """Where it comes from: the catalog, a custom model's maker, or who set it by hand later."""
    return "by hand" if price.origin == "operator" else model.origin


CHANGE_COLUMNS = ("field", ">before", ">after", ">change")


def change_row(change: "PriceChange") -> tuple[Any, ...]:
    """A row under CHANGE_COLUMNS; what somebody should look at stands out."""
    words = change.warning if change.percent is None or not change.after else percent_text(change)
    cell = Text(words or "new", WARNING if change.warning else "")
    return change.field, _rate(change.field, change.before), _rate(change.field, change.after), cell


def percent_text(change: "PriceChange") -> str:
    """`+20.0 %`; empty where there is nothing to compare with."""
    return "" if change.percent is None else f"{change.percent:+,f} %"


def change_json(change: "PriceChange") -> dict[str, Any]:
    """A change for programs; the prices are those of one unit."""
    names = ("field", "before", "after", "percent", "warning")
    return {name: getattr(change, name) for name in names}


def _rate(field: str, rate: Decimal | None) -> str | None:
    """The price of one unit; where that is a token, of a million."""
    if rate is None:
        return None
    if "token" in _THRESHOLD.sub("", field):
        return f"{(rate * 1_000_000).normalize():f} / 1M"
    return f"{rate.normalize():f}"


def _field_and_price(text: str) -> tuple[str, str]:
    name, sign, price = text.partition("=")
    if not (name and sign and price):
        raise UsageError(f"{text!r} is no price such as input_cost_per_token=0.0000025 or input=2.50/M")
    if name not in _SHORT:
        return name, price
    if not price.endswith(_PER_MILLION):
        raise UsageError(f"{name}: is priced by the million tokens, as in {name}=2.50/M; by the token: {_SHORT[name]}")
    try:
        return _SHORT[name], str(EXACT.scaleb(Decimal(price.removesuffix(_PER_MILLION)), -6))
    except ArithmeticError:
        raise UsageError(f"{name}: {price!r} is no price such as 2.50/M") from None


def _component(field: str, price: str, litellm_provider: str | None) -> PriceComponent:
    table, dot, rest = field.partition(".")
    if table in _WHOLE_TABLES:
        raise UsageError(f"{table}: is a table, which only a price file can hold: gatewaydb models import")
    entry = {"litellm_provider": litellm_provider, table: {rest: price} if dot else price}
    reason = f"{visible(field)}: is no price field"
    try:
        for component in components_of(entry, numbers_as_text=True):
            if component.source_field == field:
                return component
    except InvalidValueError as error:
        reason = str(error)
    close = rank(field, (*_SHORT, *BASES), 1) if not dot and parse_field(field) is None else ()
    raise UsageError(f"{reason}; did you mean {close[0]}?" if close else reason)
