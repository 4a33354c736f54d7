"""One entry of LiteLLM's price file as a model: what it can do, its limits, its prices; all else is its metadata."""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewaydb.entities import Model
from gatewaydb.entities.models import CAPABILITIES, LIMITS
from gatewaydb.pricing import NumberText, PriceComponent, components_of

Entries = Mapping[str, Mapping[str, Any]]

NOT_MODELS = frozenset(("sample_spec", "fallback_generalizations"))
"""Entries of the file that describe the file itself, and rules of LiteLLM's own."""

_FIELDS = frozenset((*LIMITS, *CAPABILITIES, "litellm_provider", "mode", "deprecation_date", "source"))
# The one table in which prices and settings stand side by side.
_MIXED = "provider_specific_entry"
_INT_MAX_DIGITS = 18


def model_from_entry(name: str, entry: Mapping[str, Any]) -> Model:
    """The model of an entry whose numbers are `NumberText`, as `decode_entries` gives it, ready to be stored.

    InvalidValueError, naming the field, for anything in it that cannot be read.
    """
    prices = components_of(entry)
    values = {field: _plain(value) for field, value in entry.items() if value not in (None, "")}
    fields = {field: value for field, value in values.items() if field in _FIELDS}
    limits = {field: _whole(value) for field, value in fields.items() if field in LIMITS}
    metadata = _metadata(values, prices)
    return Model(name=name, origin="catalog", prices=prices, metadata=metadata, **fields | limits).checked()


def _metadata(values: Mapping[str, Any], prices: Iterable[PriceComponent]) -> dict[str, Any]:
    priced = {component.source_field for component in prices}
    tables = {field.partition(".")[0] for field in priced}
    metadata = {field: value for field, value in values.items() if field not in _FIELDS and field not in tables}
    if _MIXED in tables:
        settings = {name: value for name, value in values[_MIXED].items() if f"{_MIXED}.{name}" not in priced}
        metadata |= {_MIXED: settings} if settings else {}
    return metadata


def _whole(value: Any) -> Any:
    """A limit that is written as text ("8192") or with a point (8192.0) as the whole number that it is."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return _plain(NumberText(value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Any:
    """The same value with ordinary numbers: what is not a price may pass through a float."""
    if isinstance(value, NumberText):
        is_int = value.lstrip("-").isdigit() and len(value) <= _INT_MAX_DIGITS
        return int(value) if is_int else float(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
