"""Usage records. What is recorded is in the monthly summaries when the call returns, each record once."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from msgspec.structs import asdict

from gatewaydb.engines import Executor, Row
from gatewaydb.entities import KeyModelTotals, TokenTotals, UsageRecord, UsageTotals, checks
from gatewaydb.errors import InvalidValueError, UsageRecordNotFoundError
from gatewaydb.repositories.base import FIRST_ID, Repository, last_of_page, page
from gatewaydb.repositories.rows import json_text, usage_record_from

_PICODOLLAR_EXPONENT = 12


class UsageRepository(Repository):
    """`db.usage`. Ranges are from `start` to before `end`, timezone-aware."""

    def __init__(self, db: Executor) -> None:
        super().__init__(db)
        self._recorder = db.grouped(self._insert)

    async def create(self, record: UsageRecord) -> UsageRecord:
        """Records one request; returns when it is committed, with the record as stored.

        The same id, or the same request id of the same key, counts once. What many tasks record at a time shares a
        transaction; what is wrong with one record is the error of that one alone. A caller that is cancelled may record
        the same record again. Raises InvalidValueError.
        """
        checked = record.checked()
        await self._recorder.add(checked)
        return checked

    async def create_many(self, records: Sequence[UsageRecord]) -> int:
        """Records all or none, in one statement; gives the number of those that were not there yet.

        Raises InvalidValueError if one of them is invalid, and then records none.
        """
        return await self._insert([record.checked() for record in records])

    async def get_by_id(self, record_id: UUID) -> UsageRecord:
        """The record with this id. Raises UsageRecordNotFoundError."""
        row = await self._db.fetch_one("usage_record_find_by_id", id=checks.identifier("id", record_id))
        if row is None:
            raise UsageRecordNotFoundError(f"no usage record has the id {record_id}")
        return usage_record_from(row)

    async def get_by_api_key(
        self,
        api_key_id: UUID,
        start: datetime,
        end: datetime,
        limit: int = 50,
        offset: int = 0,
        after: UsageRecord | UUID | None = None,
    ) -> Sequence[UsageRecord]:
        """One page of the key's records, latest first; `after` is the last record of the page before, or its id."""
        key = checks.identifier("api_key_id", api_key_id)
        cursor = await self._page(start, end, limit, offset, after)
        rows = await self._db.fetch_all("usage_record_list_by_api_key", api_key_id=key, **cursor)
        return [usage_record_from(row) for row in rows]

    async def get_by_model(
        self,
        model_id: UUID,
        start: datetime,
        end: datetime,
        limit: int = 50,
        offset: int = 0,
        after: UsageRecord | UUID | None = None,
    ) -> Sequence[UsageRecord]:
        """One page of the model's records, latest first; `after` is the last record of the page before, or its id."""
        key = checks.identifier("model_id", model_id)
        cursor = await self._page(start, end, limit, offset, after)
        rows = await self._db.fetch_all("usage_record_list_by_model", model_id=key, **cursor)
        return [usage_record_from(row) for row in rows]

    async def get_for_pricing(
        self, start: datetime, end: datetime, limit: int, after: UUID = FIRST_ID, *, unpriced_only: bool = True
    ) -> Sequence[UsageRecord]:
        """The next records in the order of their ids, for `reprice_many`; `after` is the last id before."""
        statement = "usage_record_list_unpriced" if unpriced_only else "usage_record_list_range"
        bounds = {"after": checks.identifier("after", after), "limit": checks.page(limit, 0)[0], **_range(start, end)}
        return [usage_record_from(row) for row in await self._db.fetch_all(statement, **bounds)]

    async def count_for_pricing(self, start: datetime, end: datetime, *, unpriced_only: bool = True) -> int:
        """How many records `get_for_pricing` would give in all."""
        statement = "usage_record_count_unpriced" if unpriced_only else "usage_record_count_range"
        row = await self._db.fetch_one(statement, **_range(start, end))
        return row["total"] if row else 0

    async def reprice_many(self, records: Sequence[UsageRecord]) -> int:
        """Stores the cost, price version and, where there was none, model id of records that are there already.

        The monthly summaries move with them, in one transaction. Gives the number of records that were found.
        """
        changes = [record.checked() for record in sorted(records, key=lambda record: record.id)]
        names = ("id", "model_id", "cost_picousd", "price_version")
        batch = json_text([{name: row[name] for name in names} for row in map(_stored, changes)])
        return await self._db.execute("usage_record_reprice", batch=batch)

    async def get_total_cost_by_api_key(self, api_key_id: UUID, start: datetime, end: datetime) -> Decimal:
        """US dollars, the exact sum; unpriced records are not in it."""
        return (await self.get_totals_by_api_key(api_key_id, start, end)).cost_usd

    async def get_total_tokens_by_api_key(self, api_key_id: UUID, start: datetime, end: datetime) -> TokenTotals:
        """(prompt_tokens, completion_tokens, total_tokens)."""
        totals = await self.get_totals_by_api_key(api_key_id, start, end)
        return TokenTotals(totals.prompt_tokens, totals.completion_tokens, totals.total_tokens)

    async def get_totals_by_api_key(self, api_key_id: UUID, start: datetime, end: datetime) -> UsageTotals:
        """Requests, tokens and cost of one key."""
        key = checks.identifier("api_key_id", api_key_id)
        row = await self._db.fetch_one("usage_record_totals_by_api_key", api_key_id=key, **_range(start, end))
        return UsageTotals(**(row or {}))

    async def get_totals_by_key_and_model(self, start: datetime, end: datetime) -> Sequence[KeyModelTotals]:
        """Requests, tokens and cost of every key with every model, dearest first. It reads the whole range."""
        rows = await self._db.fetch_all("usage_record_totals_by_key_and_model", **_range(start, end))
        return [KeyModelTotals(**row) for row in rows]

    async def _insert(self, records: Sequence[UsageRecord]) -> int:
        # A second statement would wait for records that others insert while it holds summaries that they wait for.
        return await self._db.execute("usage_record_insert", batch=_batch(sorted(records, key=_unique_key)))

    async def _page(
        self, start: datetime, end: datetime, limit: int, offset: int, after: UsageRecord | UUID | None
    ) -> dict[str, object]:
        span = _range(start, end)
        bounds = page(limit, offset, start=span["start"])
        last = await last_of_page(after, UsageRecord, self.get_by_id)
        if last is None or last.request_timestamp >= span["end"]:
            return {"before": span["end"], "before_id": FIRST_ID, **bounds}
        return {"before": last.request_timestamp, "before_id": last.id, **bounds}


def _range(start: datetime, end: datetime) -> dict[str, datetime]:
    bounds = {"start": checks.instant("start", start), "end": checks.instant("end", end)}
    if bounds["start"] > bounds["end"]:
        raise InvalidValueError("start: must not be after end")
    return bounds


def _unique_key(record: UsageRecord) -> tuple[UUID, str, UUID]:
    return record.api_key_id, record.request_id or "", record.id


def _batch(records: Sequence[UsageRecord]) -> str:
    return json_text([_stored(record) for record in records])


def _stored(record: UsageRecord) -> Row:
    row = asdict(record)
    cost = row.pop("cost_usd")
    row["cost_picousd"] = None if cost is None else int(cost.scaleb(_PICODOLLAR_EXPONENT))
    # The width is fixed, because SQLite compares times as text.
    row["request_timestamp"] = record.request_timestamp.isoformat(timespec="microseconds")
    row["request_metadata"] = json_text(record.request_metadata)
    row["response_metadata"] = json_text(record.response_metadata)
    row["billable"] = None if record.billable is None else json_text(record.billable)
    row["pricing_context"] = json_text(record.pricing_context)
    return row
