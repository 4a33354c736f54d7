"""Monthly usage summaries: kept by the database with every record, and summed anew on request."""

from collections.abc import Sequence
from datetime import UTC, datetime
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
        """Sums one month of one key anew from its records; who records meanwhile waits, and is counted once."""
        key = _key(api_key_id, year, month)
        now = self._db.clock.now()
        async with self._db.transaction() as tx:
            await tx.execute("monthly_usage_summary_lock", now=now, **key)
            row = await tx.fetch_one("monthly_usage_summary_refresh", now=now, **key, **_bounds(year, month))
        return MonthlyUsageSummary(**(row or {}))


def _key(api_key_id: UUID, year: int, month: int) -> dict[str, object]:
    return {
        "api_key_id": checks.identifier("api_key_id", api_key_id),
        "year": checks.count("year", year, 1, 9998),
        "month": checks.count("month", month, 1, 12),
    }


def _bounds(year: int, month: int) -> dict[str, datetime]:
    following = (year + 1, 1) if month == 12 else (year, month + 1)
    return {"start": datetime(year, month, 1, tzinfo=UTC), "end": datetime(*following, 1, tzinfo=UTC)}
