"""A catalog entry's prices as components, and the way back.

Flat fields follow the grammar of `litellm`; the tables, and the rules that a provider's documentation
adds to its entries, are read here. A field that looks like a price and cannot be read is a problem
that the caller gets to see; it is never dropped.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.components import Condition, PriceComponent, Window
from gatewaydb.pricing.litellm import Base, field_of, parse_field
from gatewaydb.pricing.literals import EXACT, NumberText, PriceValueError, price_of
from gatewaydb.pricing.windows import check_hours, check_timezone

_WEB_SEARCH = Base("none", "any", "tool:web_search", "call")
_MULTIPLIER = Base("none", "any", "multiplier", "token")
_MULTIPLIER_FIELDS = {
    "regional_processing_uplift_multiplier_eu": Condition(data_residency="eu"),
    "regional_processing_uplift_multiplier_us": Condition(data_residency="us"),
    "regional_endpoint_uplift_multiplier": Condition(endpoint="regional"),
}
_FIELD_OF_MULTIPLIER = {condition: field for field, condition in _MULTIPLIER_FIELDS.items()}
_TABLES = (
    "tiered_pricing",
    "off_peak_pricing",
    "search_context_cost_per_query",
    "guardrail_cost_per_unit",
    "provider_specific_entry",
)
_NOT_PRICES = frozenset(("web_search_billing_unit", "search_free_requests"))
_LOOKS_LIKE_PRICE = re.compile(r"cost|pric|multiplier|uplift|surcharge|_fee")
_NUMBER = re.compile(r"\s*[-+]?\.?\d[\d._]*(?:[eE][-+]?\d+)?\s*")
_GEO = re.compile(r"[a-z]{2,3}")

FIREWORKS_CACHED_SHARE = Decimal("0.5")
"""Fireworks documents cached input at half the input price; the catalog leaves it out where it is just that."""


def components_of(entry: Mapping[str, Any], *, numbers_as_text: bool = False) -> tuple[PriceComponent, ...]:
    """The components of one entry, whose numbers are `NumberText`, `Decimal` or `int` (see `decode_entries`).

    With `numbers_as_text`, plain text that is a number counts as one. InvalidValueError, naming every
    field concerned, if anything that looks like a price cannot be read; a PriceValueError, if a number is no price.
    """
    reader = _read(entry, numbers_as_text)
    if reader.problems:
        kind = PriceValueError if reader.has_wrong_price else InvalidValueError
        raise kind("; ".join(reader.problems))
    return tuple(reader.components)


def parse_entry(
    entry: Mapping[str, Any], *, numbers_as_text: bool = False
) -> tuple[tuple[PriceComponent, ...], tuple[str, ...]]:
    """The components of what could be read, and a reason for each field that looks like a price and could not."""
    reader = _read(entry, numbers_as_text)
    return tuple(reader.components), tuple(reader.problems)


def _read(entry: Mapping[str, Any], numbers_as_text: bool) -> "_Reader":
    reader = _Reader(entry, numbers_as_text)
    for field, value in entry.items():
        if value is not None and field not in _NOT_PRICES:
            reader.read(field, value)
    if entry.get("litellm_provider") == "fireworks_ai":
        reader.components += _fireworks_cache_reads(reader.components)
    return reader


class _Reader:
    def __init__(self, entry: Mapping[str, Any], numbers_as_text: bool) -> None:
        self.components: list[PriceComponent] = []
        self.problems: list[str] = []
        self.has_wrong_price = False
        self._inclusive = entry.get("litellm_provider") == "xai"
        self._numbers_as_text = numbers_as_text

    def read(self, field: str, value: Any) -> None:
        try:
            if field in _TABLES:
                getattr(self, f"_{field}")(value)
            elif field in _MULTIPLIER_FIELDS:
                self._add(_MULTIPLIER, _MULTIPLIER_FIELDS[field], field, value)
            else:
                self._flat(field, value)
        except InvalidValueError as error:
            self.problems.append(str(error))
            self.has_wrong_price |= isinstance(error, PriceValueError)
        except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            self.problems.append(f"{field}: not in a form that is known ({error})")

    def _flat(self, field: str, value: Any, where: Condition | None = None, path: str = "") -> None:
        parsed = parse_field(field, inclusive=self._inclusive)
        if parsed is not None:
            base, condition = parsed
            self._add(base, _merged(condition, where), path + field, value)
        elif _LOOKS_LIKE_PRICE.search(field) and _holds_number(value):
            raise InvalidValueError(f"{path}{field}: looks like a price, but no rule reads this field")

    def _add(self, base: Base, condition: Condition, field: str, value: Any) -> None:
        if isinstance(value, str) and not isinstance(value, NumberText) and not self._numbers_as_text:
            raise PriceValueError(f"{field}: a price must be a number, not the text {value!r}")
        price, literal = price_of(value, field)
        self.components.append(
            PriceComponent(
                direction=base.direction,
                modality=base.modality,
                kind=base.kind,
                unit=base.unit,
                per=base.per,
                price=price,
                literal=literal,
                currency=base.currency,
                combine="multiply" if base is _MULTIPLIER else "replace",
                condition=condition,
                source_field=field,
            )
        )

    def _tiered_pricing(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for index, row in enumerate(rows):
            where = _row_condition(row)
            for field, value in row.items():
                if value is not None:
                    self._flat(field, value, where, f"tiered_pricing.{index}.")

    def _off_peak_pricing(self, block: Mapping[str, Any]) -> None:
        where = Condition(windows=tuple(_windows(block)), weekday_timezone=block.get("weekday_timezone"))
        if not where.windows:
            raise InvalidValueError("off_peak_pricing: has no hours")
        check_timezone(where.weekday_timezone)
        for field, value in block.items():
            if value is not None:
                self._flat(field, value, where, "off_peak_pricing.")

    def _search_context_cost_per_query(self, sizes: Mapping[str, Any]) -> None:
        for name, value in sizes.items():
            path = f"search_context_cost_per_query.{name}"
            if not name.startswith("search_context_size_"):
                raise InvalidValueError(f"{path}: is no search context size")
            size = name.removeprefix("search_context_size_")
            self._add(_WEB_SEARCH, Condition(search_context_size=size), path, value)

    def _guardrail_cost_per_unit(self, units: Mapping[str, Any]) -> None:
        for name, value in units.items():
            base = Base("none", "any", f"guardrail:{name}", "unit")
            self._add(base, Condition(), f"guardrail_cost_per_unit.{name}", value)

    def _provider_specific_entry(self, options: Mapping[str, Any]) -> None:
        """A mixture: multipliers by geography (`us`) and speed (`fast`), and settings that are no prices."""
        for name, value in options.items():
            path = f"provider_specific_entry.{name}"
            if name == "fast":
                self._add(_MULTIPLIER, Condition(speed=name), path, value)
            elif _GEO.fullmatch(name):
                self._add(_MULTIPLIER, Condition(inference_geo=name), path, value)
            else:
                self._flat(name, value, None, "provider_specific_entry.")


def _merged(condition: Condition, where: Condition | None) -> Condition:
    if where is None:
        return condition
    return replace(where, cache_ttl=condition.cache_ttl, mode=condition.mode)


def _row_condition(row: Mapping[str, Any]) -> Condition:
    if "max_results_range" in row:
        return Condition(max_results_range=_range(row["max_results_range"]))
    return Condition(input_tokens_range=_range(row["range"]))


def _range(bounds: Sequence[Any]) -> tuple[int, int]:
    low, high = (Decimal(str(bound)) for bound in bounds)
    if not 0 <= low <= high or low != int(low) or high != int(high):
        raise InvalidValueError(f"a range must be two whole numbers in order, not {low} to {high}")
    return int(low), int(high)


def _windows(block: Mapping[str, Any]) -> Iterator[Window]:
    rules = [{"hours_utc": block["hours_utc"]}] if "hours_utc" in block else []
    for rule in [*rules, *block.get("windows", ())]:
        hours = rule["hours_utc"]
        window = Window((hours,) if isinstance(hours, str) else tuple(hours), tuple(map(int, rule.get("weekdays", ()))))
        check_hours(window)
        yield window


def _holds_number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_number, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_number, value))
    if isinstance(value, str):
        return _NUMBER.fullmatch(value) is not None
    return isinstance(value, (Decimal, int, float)) and not isinstance(value, bool)


def _fireworks_cache_reads(components: Sequence[PriceComponent]) -> list[PriceComponent]:
    """Half of each input price, where the entry has no price for cache reads."""
    if any(component.kind == "cache_read" for component in components):
        return []
    halves = []
    for component in components:
        if (component.direction, component.modality, component.kind, component.unit) == Base(
            "input", "any", "plain", "token"
        )[:4] and component.currency == "USD":
            price = EXACT.multiply(component.price, FIREWORKS_CACHED_SHARE).normalize(EXACT)
            halves.append(replace(component, kind="cache_read", price=price, literal=str(price), source_field=""))
    return halves


def entry_of(components: Sequence[PriceComponent]) -> dict[str, Any]:
    """The price fields of the entry that holds these components: the way back of `components_of`.

    Numbers are `NumberText` with the source's own literal. Components that no field stood for are left out.
    """
    entry: dict[str, Any] = {}
    for component in components:
        if component.source_field:
            place, name = _place(entry, component)
            place[name] = NumberText(component.literal)
    return entry


def _place(entry: dict[str, Any], component: PriceComponent) -> tuple[dict[str, Any], str]:
    """Where in the entry the component's number stands, and under which name."""
    condition = component.condition
    if component.direction == "none":
        return _place_of_none(entry, component)
    if condition.input_tokens_range or condition.max_results_range:
        return _table_row(entry.setdefault("tiered_pricing", []), condition), _plain_field(component)
    if condition.windows:
        return entry.setdefault("off_peak_pricing", _off_peak_block(condition)), _plain_field(component)
    return entry, field_of(component)


def _place_of_none(entry: dict[str, Any], component: PriceComponent) -> tuple[dict[str, Any], str]:
    condition = component.condition
    if condition.search_context_size:
        table = entry.setdefault("search_context_cost_per_query", {})
        return table, f"search_context_size_{condition.search_context_size}"
    if component.kind.startswith("guardrail:"):
        return entry.setdefault("guardrail_cost_per_unit", {}), component.kind.removeprefix("guardrail:")
    if option := condition.inference_geo or condition.speed:
        return entry.setdefault("provider_specific_entry", {}), option
    if component.kind == "multiplier":
        return entry, _FIELD_OF_MULTIPLIER[condition]
    return entry, field_of(component)


def _plain_field(component: PriceComponent) -> str:
    condition = component.condition
    return field_of(replace(component, condition=Condition(cache_ttl=condition.cache_ttl, mode=condition.mode)))


def _table_row(rows: list[dict[str, Any]], condition: Condition) -> dict[str, Any]:
    field = "range" if condition.input_tokens_range else "max_results_range"
    bounds = [NumberText(bound) for bound in condition.input_tokens_range or condition.max_results_range or ()]
    for row in rows:
        if row.get(field) == bounds:
            return row
    rows.append({field: bounds})
    return rows[-1]


def _off_peak_block(condition: Condition) -> dict[str, Any]:
    block: dict[str, Any] = {"windows": [_window_rule(window) for window in condition.windows]}
    if condition.weekday_timezone:
        block["weekday_timezone"] = condition.weekday_timezone
    return block


def _window_rule(window: Window) -> dict[str, Any]:
    hours = window.hours[0] if len(window.hours) == 1 else list(window.hours)
    return {"hours_utc": hours} | (
        {"weekdays": [NumberText(day) for day in window.weekdays]} if window.weekdays else {}
    )
