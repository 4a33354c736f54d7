"""What the tests of pruning share: half a year of records, and ways to see what is left of it."""

from datetime import UTC, datetime
from decimal import Decimal

from gatewaydb import Database, UsageRecord
from gatewaydb.entities.base import new_id
from gatewaydb.metering.retention import Pace
from tests.clock import ManualClock
from tests.conftest import MakeDatabase

KEY = new_id()
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def record(at: datetime, number: int = 0) -> UsageRecord:
    return UsageRecord(
        api_key_id=KEY,
        model_id=(None, KEY)[number % 2],
        request_timestamp=at,
        request_id=f"{at}-{number}",
        prompt_tokens=10,
        cost_usd=Decimal("0.1"),
    ).checked()


RECORDS = [record(datetime(2026, month, day, 3, tzinfo=UTC), day) for month in range(1, 7) for day in (1, 7, 14, 15)]


async def in_june(make_database: MakeDatabase) -> Database:
    """With four records of each month since January."""
    db = await make_database(clock=ManualClock(NOW))
    await db.usage.create_many(RECORDS)
    return db


async def kept(db: Database) -> list[UsageRecord]:
    return sorted(await db.usage.get_by_api_key(KEY, *EVER), key=lambda each: each.request_timestamp)


async def sums(db: Database) -> dict[int, int]:
    return {each.month: each.total_requests for each in await db.monthly_summaries.get_by_api_key(KEY)}


class FixedPace(Pace):
    def learn(self, held_s: float) -> None:
        """Stays as it is."""
