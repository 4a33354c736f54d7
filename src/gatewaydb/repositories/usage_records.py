"""Usage records. What is recorded is in the monthly summaries when the call returns, each record once."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from msgspec.structs import asdict

from gatewaydb.engines import Executor, Row, Transaction
from gatewaydb.entities import KeyModelTotals, TokenTotals, UsageRecord, UsageTotals, checks
from gatewaydb.errors import (
    AlreadyExistsError,
    DatabaseUnavailableError,
    InvalidValueError,
    UsageRecordNotFoundError,
)
from gatewaydb.repositories.base import FIRST_ID, Repository, last_of_page, page
from gatewaydb.repositories.rows import json_text, usage_record_from
from gatewaydb.repositories.usage_routes import UsageRoutes, route_of

_PICODOLLAR_EXPONENT = 12
_CHUNK_ROWS = 5_000
_STATEMENT_ROWS = 1_000
_ID_TYPES = (UUID, type(None))
_TEXT_TYPES = (str, type(None))
_JSON_OBJECTS = ("request_metadata", "response_metadata", "pricing_context")
RowOf = Callable[[UsageRecord], Row]
_STREAM_ROWS = 500


class UsageRepository(Repository):
    """`db.usage`. Ranges are from `start` to before `end`, timezone-aware."""

    def __init__(self, db: Executor) -> None:
        super().__init__(db)
        self._recorder = db.grouped(self._insert)
        self._routes = UsageRoutes(db)

    async def create(self, record: UsageRecord) -> UsageRecord:
        """Records one request; returns when it is committed, with the record as stored.

        The same id, or the same request id of the same key, counts once. What many tasks record at a time shares a
        transaction; what is wrong with one record is the error of that one alone. A caller that is cancelled may record
        the same record again. Raises InvalidValueError.
        """
        checked = record.checked()
        await self._recorder.add(checked)
        return checked

    async def create_many(self, records: Iterable[UsageRecord]) -> int:
        """Records all or none, in one transaction; gives the number of those that were not there yet.

        Raises InvalidValueError if one of them is invalid, and then records none.
        """
        batch = list(records)
        if len(batch) >= self._db.load_min_rows and all(map(_is_plain, batch)):
            return await self._insert(batch, _checked_row)
        return await self._insert([record.checked() for record in batch])

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

    def stream(
        self, start: datetime, end: datetime, api_key_id: UUID | None = None, model_id: UUID | None = None
    ) -> AsyncGenerator[UsageRecord, None]:
        """All records, or those of a key, of a model, or of both: what is committed when the first one is read.

        In no order, and in the memory of a few hundred of them, however many there are. The generator holds a
        connection until it has ended; who may leave it early surrounds it with `contextlib.aclosing`. Not inside a
        transaction: a GatewayDBError. Raises QueryTimeoutError where the next rows do not come within `query_timeout`.
        """
        bounds: dict[str, object] = dict(_range(start, end))
        statement = "usage_record_stream"
        if model_id is not None:
            bounds["model_id"], statement = checks.identifier("model_id", model_id), "usage_record_stream_by_model"
        if api_key_id is not None:
            key = checks.identifier("api_key_id", api_key_id)
            bounds, statement = {"model_id": None, **bounds, "api_key_id": key}, "usage_record_stream_by_api_key"
        return _records(self._db.stream(statement, _STREAM_ROWS, **bounds))

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
        names = ("id", "request_timestamp", "model_id", "route_id", "cost_picousd", "price_version")
        await self._routes.add(changes)
        batch = json_text([{name: row[name] for name in names} for row in map(usage_row, changes)])
        return await self._db.execute("usage_record_reprice", batch=batch)

    async def get_total_cost_by_api_key(self, api_key_id: UUID, start: datetime, end: datetime) -> Decimal:
        """US dollars, the exact sum; unpriced records are not in it."""
        return (await self.get_totals_by_api_key(api_key_id, start, end)).cost_usd

    async def get_total_tokens_by_api_key(self, api_key_id: UUID, start: datetime, end: datetime) -> TokenTotals:
        """(prompt_tokens, completion_tokens, total_tokens)."""
        totals = await self.get_totals_by_api_key(api_key_id, start, end)
        return TokenTotals(totals.prompt_tokens, totals.completion_tokens, totals.total_tokens)

    async def get_totals_by_api_key(self, api_key_id: UUID, start: datetime, end: datetime) -> UsageTotals:
        """Requests, tokens and cost of one key. Whole days come from the daily summaries."""
        key = checks.identifier("api_key_id", api_key_id)
        row = await self._db.fetch_one("usage_record_totals_by_api_key", api_key_id=key, **_days(start, end))
        return UsageTotals(**(row or {}))

    async def get_totals_by_key_and_model(self, start: datetime, end: datetime) -> Sequence[KeyModelTotals]:
        """Requests, tokens and cost of every key with every model, dearest first. Whole days come from summaries."""
        rows = await self._db.fetch_all("usage_record_totals_by_key_and_model", **_days(start, end))
        return [KeyModelTotals(**row) for row in rows]

    async def _insert(self, records: Sequence[UsageRecord], row_of: RowOf | None = None) -> int:
        batch = sorted(records, key=_unique_key)
        try:
            await self._routes.add(batch)
            if len(batch) < self._db.load_min_rows:
                # A second statement would wait for records of others while it holds summaries that they wait for.
                return await self._db.execute("usage_record_insert", batch=_batch(map(usage_row, batch)))
            async with self._db.transaction() as tx:
                return await _load(tx, batch, row_of or usage_row)
        except DatabaseUnavailableError:
            self._routes.forget()
            raise

    async def _page(
        self, start: datetime, end: datetime, limit: int, offset: int, after: UsageRecord | UUID | None
    ) -> dict[str, object]:
        span = _range(start, end)
        bounds = page(limit, offset, start=span["start"])
        last = await last_of_page(after, UsageRecord, self.get_by_id)
        if last is None or last.request_timestamp >= span["end"]:
            return {"before": span["end"], "before_id": FIRST_ID, **bounds}
        return {"before": last.request_timestamp, "before_id": last.id, **bounds}


async def _records(batches: AsyncGenerator[list[Row], None]) -> AsyncGenerator[UsageRecord, None]:
    async with aclosing(batches):
        async for rows in batches:
            for row in rows:
                yield usage_record_from(row)


async def _load(tx: Transaction, records: Sequence[UsageRecord], row_of: RowOf) -> int:
    """As many records as there are; what is there already is left out. Rows are made while the database takes them."""
    inserted, are_new = 0, True
    for first in range(0, len(records), _CHUNK_ROWS):
        chunk = records[first : first + _CHUNK_ROWS]
        if are_new:
            try:
                inserted += await tx.load("usage_record_load", map(row_of, chunk))
                continue
            except AlreadyExistsError:
                are_new = False  # it is a replay; the rest will be, too
        for start in range(0, len(chunk), _STATEMENT_ROWS):
            rows = map(row_of, chunk[start : start + _STATEMENT_ROWS])
            inserted += await tx.execute("usage_record_insert", batch=_batch(rows))
    return inserted


def _range(start: datetime, end: datetime) -> dict[str, datetime]:
    bounds = {"start": checks.instant("start", start), "end": checks.instant("end", end)}
    if bounds["start"] > bounds["end"]:
        raise InvalidValueError("start: must not be after end")
    return bounds


def _days(start: datetime, end: datetime) -> dict[str, date]:
    """The range in three parts: records from `start` to `head`, whole days, records from `tail` to `end`."""
    span = _range(start, end)
    is_cut = span["start"].time() > time() and span["start"].date() < date.max
    first = span["start"].date() + timedelta(days=is_cut)
    last = max(first, span["end"].date())
    head, tail = (datetime.combine(day, time(), UTC) for day in (first, last))
    bounds = {"head": min(head, span["end"]), "tail": max(tail, span["start"])}
    return {**span, **bounds, "first_day": first, "last_day": last}


def _unique_key(record: UsageRecord) -> tuple[int, str, int]:
    # The order of the ids themselves, but these are compared in C.
    return record.api_key_id.int, record.request_id or "", record.id.int


def _is_plain(record: UsageRecord) -> bool:
    """Whether what it is sorted by, and its route, are what they will be after the checks."""
    return (
        type(record.api_key_id) is UUID
        and type(record.id) is UUID
        and type(record.model_id) in _ID_TYPES
        and type(record.provider_id) in _ID_TYPES
        and type(record.request_id) in _TEXT_TYPES
        and type(record.model_name) in _TEXT_TYPES
        and type(record.endpoint) in _TEXT_TYPES
    )


def _batch(rows: Iterable[Row]) -> str:
    # The width of times is fixed, because SQLite compares them as text. The cost is told in whole picodollars.
    return json_text(
        [
            {**row, "request_timestamp": row["request_timestamp"].isoformat(timespec="microseconds"), "cost_usd": None}
            for row in rows
        ]
    )


def usage_row(record: UsageRecord) -> Row:
    """A checked record as it is stored."""
    row = asdict(record)
    for field in _JSON_OBJECTS:
        row[field] = json_text(row[field]) if row[field] else None
    return _stored(record, row)


def _checked_row(record: UsageRecord) -> Row:
    """As usage_row, of one that was not checked. Raises InvalidValueError."""
    return _stored(record, record.checked_fields(checks.json_object_text))


def _stored(record: UsageRecord, row: Row) -> Row:
    cost, billable = row["cost_usd"], row["billable"]
    row["route_id"] = route_of(record)
    row["cost_picousd"] = None if cost is None else int(cost.scaleb(_PICODOLLAR_EXPONENT))
    row["billable"] = None if billable is None else json_text(billable)
    return row
