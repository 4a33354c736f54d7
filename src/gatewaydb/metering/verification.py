"""Proves that records, daily and monthly summaries say the same, and mends the summaries from the records.

It compares slices: some keys, some days. Each is one statement, and so one state of the database: who writes meanwhile
moves records and summaries together, is not waited for, and upsets nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from gatewaydb.engines import Executor, Row
from gatewaydb.entities import checks
from gatewaydb.errors import InvalidValueError, QueryTimeoutError
from gatewaydb.metering.drifts import UsageDrift, daily_drift, monthly_drift

SLICE_REQUESTS = 200_000
"""Requests of one statement, as far as the summaries tell; a slice that takes too long is halved."""

KEYS_AT_ONCE = 500
DRIFTS_AT_ONCE = 2_000
DRIFTS_KEPT = 1_000

Progress = Callable[[int, int], None]
Refresh = Callable[[UUID, int, int], Awaitable[object]]


class VerificationReport(msgspec.Struct, kw_only=True):
    """What was verified, by the month, and what was found.

    `drifts` holds the first thousand of `drifts_found`. A key's month is `drifted` once, however many of its summaries
    differ; `repaired` are those that differed no more after they were summed anew.
    """

    first_month: date | None = None
    last_month: date | None = None
    keys: int = 0
    drifts: list[UsageDrift] = msgspec.field(default_factory=list)
    drifts_found: int = 0
    drifted: int = 0
    repaired: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether records, days and months agree now."""
        return self.drifted == self.repaired


class Slice(NamedTuple):
    """Some keys from `first` to before the day `last`, within one month."""

    keys: Sequence[UUID]
    first: date
    last: date

    def halves(self) -> "tuple[Slice, ...]":
        """Two smaller ones, by keys as long as there are several; none of one key's day."""
        if (half := len(self.keys) // 2) > 0:
            return self._replace(keys=self.keys[:half]), self._replace(keys=self.keys[half:])
        if (half := (self.last - self.first).days // 2) > 0:
            middle = self.first + timedelta(half)
            return self._replace(last=middle), self._replace(first=middle)
        return ()


async def verify(
    db: Executor,
    refresh: Refresh,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    api_key_id: UUID | None = None,
    repair: bool = False,
    progress: Progress | None = None,
) -> VerificationReport:
    """Compares the months (UTC) that lie in or reach into `start` to before `end`; of one key, or of all.

    `repair` sums what drifted anew, one key's month at a time, by `refresh`. Of months whose records were pruned only
    days and months are compared. `progress(done, total)` counts months of keys. Raises InvalidValueError, and
    QueryTimeoutError where a single day of a key takes longer than `query_timeout`.
    """
    months = await _months(db, start, end)
    report = VerificationReport()
    if months:
        report.first_month, report.last_month = months[0], months[-1]
    total = len(months) * await _count_keys(db, api_key_id, progress)
    done = 0
    async for keys in _pages_of_keys(db, api_key_id):
        report.keys += len(keys)
        for month in months:
            for part in await _parts(db, keys, month):
                await _verify_part(db, refresh if repair else None, report, part, month)
            done += len(keys)
            if progress is not None:
                progress(done, max(done, total))
    return report


async def _months(db: Executor, start: datetime | None, end: datetime | None) -> list[date]:
    since = None if start is None else checks.instant("start", start)
    until = None if end is None else checks.instant("end", end)
    if since is not None and until is not None and since > until:
        raise InvalidValueError("start: must not be after end")
    months = [row["first_day"] for row in await db.fetch_all("usage_verification_list_months")]
    return [
        month
        for month in months
        if (since is None or _midnight(_month_after(month)) > since) and (until is None or _midnight(month) < until)
    ]


async def _count_keys(db: Executor, api_key_id: UUID | None, progress: Progress | None) -> int:
    if api_key_id is not None or progress is None:
        return 1
    row = await db.fetch_one("usage_verification_count_keys")
    return row["total"] if row else 0


async def _pages_of_keys(db: Executor, api_key_id: UUID | None) -> AsyncIterator[list[UUID]]:
    if api_key_id is not None:
        yield [checks.identifier("api_key_id", api_key_id)]
        return
    after = UUID(int=0)
    while rows := await db.fetch_all("usage_verification_list_keys", after=after, limit=KEYS_AT_ONCE):
        yield [row["api_key_id"] for row in rows]
        after = rows[-1]["api_key_id"]


async def _parts(db: Executor, keys: Sequence[UUID], month: date) -> list[Slice]:
    """The month in slices, of about as many requests each as one statement may take."""
    rows = await db.fetch_all("usage_verification_list_requests", ids=list(keys), year=month.year, month=month.month)
    requests = {row["api_key_id"]: row["requests"] for row in rows}
    parts: list[list[UUID]] = [[]]
    size = 0
    for key in keys:
        size += requests.get(key, 0)
        if size > SLICE_REQUESTS and parts[-1]:
            parts.append([])
            size = requests.get(key, 0)
        parts[-1].append(key)
    return [Slice(part, month, _month_after(month)) for part in parts]


async def _verify_part(
    db: Executor, refresh: Refresh | None, report: VerificationReport, part: Slice, month: date
) -> None:
    drifted: set[UUID] = set()
    async for drifts in _compare(db, part, month):
        drifted.update(drift.api_key_id for drift in drifts)
        report.drifts_found += len(drifts)
        report.drifts += drifts[: DRIFTS_KEPT - len(report.drifts)]
    report.drifted += len(drifted)
    if refresh is None:
        return
    for key in sorted(drifted):
        await refresh(key, month.year, month.month)
        left = [drifts async for drifts in _compare(db, part._replace(keys=[key]), month)]
        report.repaired += not left


async def _compare(db: Executor, part: Slice, month: date) -> AsyncIterator[list[UsageDrift]]:
    """What differs in a month of some keys; no list of them is long."""
    async for rows in _daily(db, part):
        yield sorted(map(daily_drift, rows), key=_by_key)
    bounds = {"year": month.year, "month": month.month, "first_day": part.first, "last_day": part.last}
    rows = await db.fetch_all("usage_verification_list_monthly", ids=list(part.keys), **bounds)
    if rows:
        yield sorted((monthly_drift(row, month) for row in rows), key=_by_key)


async def _daily(db: Executor, part: Slice) -> AsyncIterator[list[Row]]:
    bounds = {"first_day": part.first, "last_day": part.last, "limit": DRIFTS_AT_ONCE}
    span = {"start": _midnight(part.first), "end": _midnight(part.last)}
    halves = part.halves()
    try:
        rows = await db.fetch_all("usage_verification_list_daily", ids=list(part.keys), **bounds, **span)
    except QueryTimeoutError:
        if not halves:
            raise
    else:
        if len(rows) < DRIFTS_AT_ONCE or not halves:
            if rows:
                yield rows
            return
    for half in halves:
        async for rows in _daily(db, half):
            yield rows


def _by_key(drift: UsageDrift) -> tuple[UUID, date]:
    return drift.api_key_id, drift.day


def _month_after(month: date) -> date:
    return date.max if month >= _LAST_MONTH else (month + timedelta(31)).replace(day=1)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


_LAST_MONTH = date(9999, 12, 1)
