"""The prices of models, and their past: a price is never changed, only closed and followed by another.

What is stored of a model's sheet are its open prices; those that are there already stay as they are, those that are
missing from it end now, and new ones begin now, all under the model's next version. A model's first prices hold since
ever: usage from before it was stored has a price, too.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec.structs import asdict, replace

from gatewaydb.engines import Row, Transaction
from gatewaydb.entities import Model
from gatewaydb.pricing import PriceComponent, condition_from_json, condition_to_json

_Stored = tuple[int, PriceComponent]


async def insert_prices(tx: Transaction, models: Iterable[Model]) -> None:
    """Stores the prices of new models."""
    rows = [_row(model.id, price) for model in models for price in model.price_sheet]
    await tx.execute_many("price_component_insert", rows)


async def change_prices(tx: Transaction, models: Sequence[Model], now: datetime) -> None:
    """Makes the open prices of stored models those of their sheets. The models' rows are locked already."""
    stored: defaultdict[UUID, list[_Stored]] = defaultdict(list)
    for row in await tx.fetch_all("price_component_list_by_models", model_ids=[model.id for model in models]):
        stored[row["model_id"]].append((row["number"], _component_from(row)))
    closed: list[dict[str, Any]] = []
    opened: list[dict[str, Any]] = []
    for model in models:
        version = max((max(price.version, price.ended_version) for _, price in stored[model.id]), default=0) + 1
        ending, beginning = _difference(stored[model.id], model.price_sheet, now)
        closed += [{"id": number, "now": now, "version": version} for number in ending]
        opened += [_row(model.id, replace(price, version=version)) for price in beginning]
    await tx.execute_many("price_component_close", closed)
    await tx.execute_many("price_component_insert", opened)


def _difference(
    stored: Sequence[_Stored], wanted: Iterable[PriceComponent], now: datetime
) -> tuple[list[int], list[PriceComponent]]:
    """(the numbers of prices that end, the prices that begin)."""
    since = now if stored else None
    open_prices = {_identity(price): number for number, price in stored if _is_open(price, now)}
    beginning = [
        replace(price, valid_from=price.valid_from or since)
        for price in wanted
        if _is_open(price, now) and open_prices.pop(_identity(price), None) is None
    ]
    return list(open_prices.values()), beginning


def _identity(price: PriceComponent) -> tuple[Any, ...]:
    return *price.terms, price.origin, price.valid_until


def _is_open(price: PriceComponent, now: datetime) -> bool:
    return price.valid_until is None or price.valid_until > now


def _component_from(row: Row) -> PriceComponent:
    fields = {name: row[name] for name in PriceComponent.__struct_fields__}
    return PriceComponent(**fields | {"condition": condition_from_json(row["condition"])})


def _row(model_id: UUID, price: PriceComponent) -> dict[str, Any]:
    return asdict(price) | {"model_id": model_id, "condition": condition_to_json(price.condition)}
