"""Rows into entities. Both engines give the same Python types; what is JSON in a row is decoded here.

What many rows have in common (allowed models, tags) becomes one shared immutable value.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import asdict

from gatewaydb.engines import Row
from gatewaydb.entities import APIKey, Model, ModelAlias, Provider, UsageRecord
from gatewaydb.entities.frozen import EMPTY, FrozenDict, frozen
from gatewaydb.pricing import BillableUsage, Condition, PriceComponent, PriceSheet
from gatewaydb.pricing.components import Combine, Direction, Modality, Origin


class _PriceRow(msgspec.Struct, array_like=True):
    direction: Direction
    modality: Modality
    kind: str
    unit: str
    per: int
    price: Decimal
    literal: str
    currency: str
    combine: Combine
    condition: Condition
    source_field: str
    valid_from: datetime | None
    valid_until: datetime | None
    version: int
    ended_version: int
    origin: Origin


_names = lru_cache(maxsize=4096)(msgspec.json.Decoder(tuple[str, ...]).decode)
_limit = lru_cache(maxsize=1024)(int)
_budget = lru_cache(maxsize=1024)(Decimal)
_pairs = msgspec.json.Decoder(list[tuple[str, str]])
_triples = msgspec.json.Decoder(list[tuple[str, str, str]])
_billable = msgspec.json.Decoder(BillableUsage)
_prices = msgspec.json.Decoder(list[_PriceRow])


def api_key_from(row: Row) -> APIKey:
    """An API key with its metadata."""
    row["allowed_models"] = _names(row["allowed_models"])
    row["metadata"] = _nested(row["metadata"] or "[]")
    return APIKey(**row)


def api_key_to_keep(row: Row, key_hash: str) -> APIKey:
    """As api_key_from, for a cache that has this very text as its key: a third smaller, for two microseconds more."""
    row["key_hash"] = key_hash
    if (limit := row["rate_limit_per_minute"]) is not None:
        row["rate_limit_per_minute"] = _limit(limit)
    if (budget := row["monthly_budget_usd"]) is not None:
        row["monthly_budget_usd"] = _budget(str(budget))
    if row["updated_at"] == row["created_at"]:
        row["updated_at"] = row["created_at"]
    return api_key_from(row)


def model_from(row: Row) -> Model:
    """A model with its aliases and prices."""
    row["aliases"] = _names(row["aliases"] or "[]")
    row["metadata"] = _json_object(row["metadata"])
    row["prices"] = PriceSheet(_price_from(price) for price in _prices.decode(row["prices"] or "[]"))
    return Model(**row)


def model_alias_from(row: Row) -> ModelAlias:
    """An alias with its tags."""
    row["tags"] = FrozenDict(_pairs.decode(row["tags"] or "[]"))
    return ModelAlias(**row)


def provider_from(row: Row) -> Provider:
    """A provider without its credentials."""
    row["metadata"] = _json_object(row["metadata"])
    return Provider(**row)


def usage_record_from(row: Row) -> UsageRecord:
    """A usage record."""
    row["request_metadata"] = _json_object(row["request_metadata"])
    row["response_metadata"] = _json_object(row["response_metadata"])
    row["pricing_context"] = _json_object(row["pricing_context"])
    if row["billable"] is not None:
        row["billable"] = _billable.decode(row["billable"])
    return UsageRecord(**row)


def json_text(value: Any) -> str:
    """What a JSON column takes."""
    return msgspec.json.encode(value).decode()


def _price_from(row: _PriceRow) -> PriceComponent:
    # PostgreSQL writes times into JSON with the session's offset.
    if row.valid_from is not None:
        row.valid_from = row.valid_from.astimezone(UTC)
    if row.valid_until is not None:
        row.valid_until = row.valid_until.astimezone(UTC)
    return PriceComponent(**asdict(row))


def _json_object(text: str | None) -> FrozenDict:
    if text is None or text == "{}":
        return EMPTY
    value = frozen(msgspec.json.decode(text))
    assert isinstance(value, FrozenDict)
    return value


@lru_cache(maxsize=4096)
def _nested(text: str) -> FrozenDict:
    by_type: dict[str, dict[str, str]] = {}
    for kind, key, value in _triples.decode(text):
        by_type.setdefault(kind, {})[key] = value
    nested = frozen(by_type)
    assert isinstance(nested, FrozenDict)
    return nested
