"""Prices what was unpriced, or prices a range anew on purpose, as of the time of each request."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

import msgspec
from msgspec.structs import replace

from gatewaydb.entities import Model, UsageRecord
from gatewaydb.errors import InvalidValueError, ModelNotFoundError

BATCH_ROWS = 500


class UsageStore(Protocol):
    """What repricing asks of `db.usage`."""

    async def get_for_pricing(
        self, start: datetime, end: datetime, limit: int, after: UUID = ..., *, unpriced_only: bool = True
    ) -> Sequence[UsageRecord]: ...

    async def count_for_pricing(self, start: datetime, end: datetime, *, unpriced_only: bool = True) -> int: ...

    async def reprice_many(self, records: Sequence[UsageRecord]) -> int: ...


class ModelStore(Protocol):
    """What repricing asks of `db.models`."""

    async def get_by_id(self, model_id: UUID) -> Model: ...

    async def get_by_name(self, name: str) -> Model: ...


class RepricingReport(msgspec.Struct, kw_only=True):
    """Counts of records; costs in US dollars, of the records that changed, where unpriced counts as nothing."""

    seen: int = 0
    changed: int = 0
    still_unpriced: int = 0
    cost_before: Decimal = Decimal(0)
    cost_after: Decimal = Decimal(0)


async def reprice(
    usage: UsageStore,
    models: ModelStore,
    start: datetime,
    end: datetime,
    *,
    model: Model | None = None,
    unpriced_only: bool = True,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> RepricingReport:
    """Costs the records from `start` to before `end`, of one model or of all, and stores what differs.

    Each batch of 500 is one transaction with its summaries, so that it can be stopped and run again. A record whose
    cost cannot be told (no such model, or no price for what it used) stays as it is. `dry_run` only counts.
    `progress(done, total)` is called with numbers of records, of all models.
    """
    report = RepricingReport()
    done, total = 0, 0
    if progress is not None:
        total = await usage.count_for_pricing(start, end, unpriced_only=unpriced_only)
    known: dict[UUID | str | None, Model | None] = {}
    after = UUID(int=0)
    while batch := await usage.get_for_pricing(start, end, BATCH_ROWS, after, unpriced_only=unpriced_only):
        after = batch[-1].id
        changes = []
        for record in batch:
            found = await _model_of(record, models, known)
            if model is not None and (found is None or found.id != model.id):
                continue
            report.seen += 1
            if (priced := _priced(record, found)) is None:
                report.still_unpriced += record.cost_usd is None
            elif priced.cost_usd != record.cost_usd:
                changes.append(priced)
                report.cost_before += record.cost_usd or 0
                report.cost_after += priced.cost_usd or 0
        report.changed += len(changes)
        if changes and not dry_run:
            await usage.reprice_many(changes)
        done += len(batch)
        if progress is not None:
            progress(done, max(done, total))
    return report


async def _model_of(
    record: UsageRecord, models: ModelStore, known: dict[UUID | str | None, Model | None]
) -> Model | None:
    key = record.model_id or record.model_name
    if key not in known:
        known[key] = await _find(record, models)
    return known[key]


async def _find(record: UsageRecord, models: ModelStore) -> Model | None:
    try:
        if record.model_id is not None:
            return await models.get_by_id(record.model_id)
        return None if record.model_name is None else await models.get_by_name(record.model_name)
    except ModelNotFoundError:
        return None


def _priced(record: UsageRecord, model: Model | None) -> UsageRecord | None:
    """The record with its cost of that time, as it would be stored; None where it cannot be told."""
    if model is None:
        return None
    try:
        cost = model.cost_of(record.billable_usage, at=record.request_timestamp, **record.pricing_context).cost_usd
    except InvalidValueError:  # counts that contradict each other, or a context from another program
        return None
    if cost is None:
        return None
    return replace(record, cost_usd=cost, price_version=model.price_version, model_id=model.id).checked()
