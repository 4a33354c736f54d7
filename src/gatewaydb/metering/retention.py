"""Removes usage records that are old enough, in whole months (UTC). Their daily and monthly summaries stay.

First the database is told that it takes no more records of that time, so that one that comes late cannot be counted
twice; then they go. PostgreSQL drops their partitions; SQLite deletes bit by bit. Whatever interrupts it, the next time
goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from gatewaydb.engines import Executor
from gatewaydb.entities import checks
from gatewaydb.errors import InvalidValueError, QueryTimeoutError

OLDER_THAN_MIN = timedelta(days=1)
HOLD_S = 0.02
"""How long a batch of deletions should hold the database, with its commit. The longest take twice as long."""

PAUSE_S = 0.025
"""The least time between two batches, in which other processes get their turn."""

PATIENCE_S = 60.0
CLAIM_DAYS = timedelta(days=1)
"""The claims of the last day of what was pruned stay: they are of requests that may be tried again a day later."""


class PrunedMonth(msgspec.Struct, frozen=True, kw_only=True):
    """A month that goes, with the requests that its summaries count; `detached_as` is a table that was kept."""

    first_day: date
    requests: int
    detached_as: str | None = None


class PruneReport(msgspec.Struct, kw_only=True):
    """Records from before `before` are gone, or would be; `deleted` of them were in no partition of their month."""

    before: datetime
    months: list[PrunedMonth] = msgspec.field(default_factory=list)
    deleted: int = 0


class Pace:
    """How many rows a batch may delete, by how long the last one took."""

    ROWS_MIN, ROWS_MAX = 100, 20_000

    def __init__(self, rows: int = 500) -> None:
        self.rows = rows

    def learn(self, held_s: float) -> None:
        """At most twice as many the next time, and at least an eighth: one slow batch may have been bad luck."""
        factor = max(0.125, min(2.0, HOLD_S / held_s if held_s > 0 else 2.0))
        self.rows = max(self.ROWS_MIN, min(self.ROWS_MAX, int(self.rows * factor)))


async def prune(
    db: Executor,
    *,
    older_than: timedelta | None = None,
    before: datetime | None = None,
    detach: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> PruneReport:
    """Removes the records of the months that had ended `older_than` ago, or by `before`; never of the current one.

    `detach` keeps a month as a table of its own (PostgreSQL); `dry_run` changes nothing. `progress(done, total)` counts
    records that are deleted one by one. Raises InvalidValueError, and QueryTimeoutError where others hold the records
    for a minute: what was done until then stays done.
    """
    if detach and db.dialect == "sqlite":
        raise InvalidValueError("detach: SQLite has no partitions; export the records before they are pruned")
    last_day = _cut_off(db, older_than, before).date().replace(day=1)
    report = PruneReport(before=_midnight(last_day))
    rows = await db.fetch_all("usage_retention_list_months", last_day=last_day)
    months = [PrunedMonth(**row) for row in rows]
    if dry_run:
        report.months = months
        return report
    for month in months:
        kept = await _remove(db, month.first_day, detach)
        report.months.append(replace(month, detached_as=kept))
    await _refuse_before(db, last_day)
    pace = Pace()
    total = sum(month.requests for month in months)
    for row in await db.fetch_all("usage_retention_list_models"):
        bounds = {"before": report.before, "model_id": row["model_id"]}
        async for deleted in _batches(db, "usage_retention_delete_records", pace, **bounds):
            report.deleted += deleted
            if progress is not None:
                progress(report.deleted, max(report.deleted, total))
    async for _ in _batches(db, "usage_retention_delete_claims", pace, before=report.before - CLAIM_DAYS):
        pass
    return report


def _cut_off(db: Executor, older_than: timedelta | None, before: datetime | None) -> datetime:
    now = db.clock.now()
    if (older_than is None) == (before is None):
        raise InvalidValueError("older_than: give either this or before")
    if before is not None:
        moment = checks.instant("before", before)
        if moment > now:
            raise InvalidValueError("before: must not be in the future")
        return moment
    if not isinstance(older_than, timedelta) or older_than < OLDER_THAN_MIN:
        raise InvalidValueError("older_than: must be a duration of one day at least")
    try:
        return now - older_than
    except OverflowError:
        raise InvalidValueError("older_than: goes back to before the year 1") from None


async def _refuse_before(db: Executor, last_day: date) -> None:
    """Also where no record is: the last months may have had none."""
    known = await db.fetch_one("usage_retention_find")
    if (known is None or known["pruned_at"] < _midnight(last_day)) and last_day > date(1, 1, 31):
        await _remove(db, last_day - timedelta(1), False)


async def _remove(db: Executor, month: date, keep: bool) -> str | None:
    """Waits for its turn without being in anybody's way: a try ends soon, and another follows."""
    deadline, pause_s = db.clock.monotonic() + PATIENCE_S, 0.05
    while True:
        try:
            row = await db.fetch_one("usage_retention_remove_month", month=month, keep=keep)
        except QueryTimeoutError:
            if db.clock.monotonic() >= deadline:
                raise QueryTimeoutError(
                    f"others hold the usage records for so long that {month:%Y-%m} could not be pruned; try again"
                ) from None
        else:
            return row["kept"] if row else None
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


async def _batches(db: Executor, statement: str, pace: Pace, **values: Any) -> AsyncIterator[int]:
    """Runs the statement until there is nothing left for it; gives the number of rows of each batch."""
    while True:
        limit = pace.rows
        async with db.transaction() as tx:
            # What waits for the lock holds nothing yet: SQLite takes it with the first statement.
            await tx.fetch_one("usage_retention_find")
            start = db.clock.monotonic()
            deleted = await tx.execute(statement, limit=limit, **values)
        held_s = db.clock.monotonic() - start
        await db.fetch_all("usage_retention_checkpoint")
        yield deleted
        if deleted < limit:
            return
        pace.learn(held_s)
        await asyncio.sleep(max(held_s, PAUSE_S))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
