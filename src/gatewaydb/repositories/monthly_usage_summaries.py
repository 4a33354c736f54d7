"""Monthly usage summaries: kept by the database with every record, and summed anew on request."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

from gatewaydb.entities import MonthlyUsageSummary, checks
from gatewaydb.errors import MonthlyUsageSummaryNotFoundError
from gatewaydb.repositories.base import Repository, page


class MonthlyUsageSummaryRepository(Repository):
    """`db.monthly_summaries`. Months are UTC."""

    async def get_by_api_key_and_month(self, api_key_id: UUID, year: int, month: int) -> MonthlyUsageSummary:
        """One month of one key. Raises MonthlyUsageSummaryNotFoundError where it used nothing."""
        row = await self._db.fetch_one("monthly_usage_summary_find", **_key(api_key_id, year, month))
        if row is None:
            raise MonthlyUsageSummaryNotFoundError(f"this API key has no usage in {year}-{month:02}")
        return MonthlyUsageSummary(**row)

    async def get_by_api_key(self, api_key_id: UUID, limit: int = 50, offset: int = 0) -> Sequence[MonthlyUsageSummary]:
        """The months of one key, latest first."""
        key = checks.identifier("api_key_id", api_key_id)
        rows = await self._db.fetch_all("monthly_usage_summary_list", api_key_id=key, **page(limit, offset))
        return [MonthlyUsageSummary(**row) for row in rows]

    async def refresh_summary(self, api_key_id: UUID, year: int, month: int) -> MonthlyUsageSummary:
        """Sums the days and then the month of one key anew from its records.

        Who records for the key meanwhile waits, and is counted once. A month whose records were pruned keeps its days.
        """
        key = _key(api_key_id, year, month)
        now = self._db.clock.now()
        days = _days(year, month)
        whole = _span(days[0], days[-1] + timedelta(1))
        async with self._db.transaction() as tx:
            await tx.execute("monthly_usage_summary_hold")
            await tx.execute("monthly_usage_summary_lock", now=now, **key)
            await tx.execute("daily_usage_summary_clear", api_key_id=key["api_key_id"], **whole)
            # A day at a time, so that a busy key's month takes many statements rather than one too long.
            for day in days:
                span = _span(day, day + timedelta(1))
                await tx.execute("daily_usage_summary_renew", api_key_id=key["api_key_id"], **span)
            row = await tx.fetch_one("monthly_usage_summary_refresh", now=now, **key, **whole)
        return MonthlyUsageSummary(**(row or {}))


def _key(api_key_id: UUID, year: int, month: int) -> dict[str, object]:
    return {
        "api_key_id": checks.identifier("api_key_id", api_key_id),
        "year": checks.count("year", year, 1, 9998),
        "month": checks.count("month", month, 1, 12),
    }


def _days(year: int, month: int) -> list[date]:
    return [date(year, month, number + 1) for number in range(monthrange(year, month)[1])]


def _span(first: date, last: date) -> dict[str, date]:
    """From the day `first` to before the day `last`, in days and in instants."""
    start, end = (datetime.combine(day, time(), UTC) for day in (first, last))
    return {"first_day": first, "last_day": last, "start": start, "end": end}
