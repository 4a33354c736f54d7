"""Reports by key over weeks read the sums of whole weeks, and are those of the records whatever was settled when."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from uuid import UUID

import pytest

from gatewaydb import Database, UsageRecord
from gatewaydb.entities.base import new_id
from gatewaydb.metering import settle_days

LENGTH = 45
KEYS = [new_id() for _ in range(3)]
Used = dict[tuple[date, UUID], int]
"""Requests by day and key, each of which cost a dollar."""


@pytest.fixture
def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture(params=range(3))
def random(request: pytest.FixtureRequest) -> Random:
    return Random(request.param)


async def use(db: Database, used: Used, days: Mapping[date, int], random: Random) -> None:
    """So many requests on each day, by any key."""
    keys = [(day, random.choice(KEYS)) for day, requests in days.items() for _ in range(requests)]
    records = [
        UsageRecord(
            api_key_id=key,
            request_timestamp=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
            cost_usd=Decimal(1),
        )
        for day, key in keys
    ]
    await db.usage.create_many(records)
    for each in keys:
        used[each] = used.get(each, 0) + 1


async def assert_reports_add_up(db: Database, used: Used, first: date, random: Random) -> None:
    """Of any range of days: also of those that begin or end within a week."""
    for _ in range(40):
        start, end = sorted(first + timedelta(days=random.randrange(LENGTH + 2)) for _ in range(2))
        expected = Counter[UUID]()
        for (day, key), requests in used.items():
            if start <= day < end:
                expected[key] += requests
        report = await db.daily_summaries.report("key", start, end)
        assert {row.id: row.requests for row in report.rows} == expected, (start, end)
        assert report.total.cost_usd == expected.total()
        series = await db.daily_summaries.series("key", start, end)
        assert sum(row.requests for row in series) == expected.total()


async def test_any_report_by_key_is_the_sum_of_its_records(db: Database, today: date, random: Random) -> None:
    """On days with gaps, while nothing, a part or all is settled, and after changes to settled weeks."""
    first, used = today - timedelta(days=LENGTH - 1), Used()
    days = {first + timedelta(days=n): random.choice([0, 0, 1, 3]) for n in range(LENGTH)}
    await use(db, used, days, random)
    await assert_reports_add_up(db, used, first, random)
    for _ in range(random.randrange(LENGTH // 2)):
        await db._engine.execute("daily_usage_summary_settle")
    await assert_reports_add_up(db, used, first, random)
    await settle_days(db._engine)
    await assert_reports_add_up(db, used, first, random)
    assert (await db.daily_summaries.report("key", date.min, date.max)).total.requests == sum(used.values())
    await use(db, used, {first + timedelta(days=random.randrange(LENGTH)): 2 for _ in range(3)}, random)
    await assert_reports_add_up(db, used, first, random)
    await db._engine.execute("daily_usage_summary_settle")
    await assert_reports_add_up(db, used, first, random)
    await settle_days(db._engine)
    await assert_reports_add_up(db, used, first, random)


async def test_whole_weeks_are_read_as_one(db: Database) -> None:
    """Up to a week that was changed: from there on, a report reads days until it is settled again."""
    monday, used = date(2026, 3, 2), Used()
    await use(db, used, {monday + timedelta(days=n): 1 for n in range(-3, 17)}, Random(0))
    await settle_days(db._engine)
    async with db.transaction() as tx:
        await tx.execute("UPDATE settled_weeks_by_key SET total_requests = 1000 WHERE total_requests > 0")

    async def told(start: int, end: int) -> tuple[int, int]:
        days = [monday + timedelta(days=n) for n in (start, end)]
        return divmod((await db.daily_summaries.report("key", *days)).total.requests, 1000)

    keys = [
        len({key for day, key in used if monday <= day - timedelta(days=n) < monday + timedelta(days=7)})
        for n in (0, 7)
    ]
    assert await told(0, 7) == (keys[0], 0)
    assert await told(-3, 17) == (sum(keys), 3 + 3)
    assert [await told(1, 7), await told(0, 6), await told(-3, 0)] == [(0, 6), (0, 6), (0, 3)]
    await use(db, used, {monday + timedelta(days=2): 1}, Random(1))
    assert [await told(0, 14), await told(7, 14)] == [(0, 15), (keys[1], 0)]
    await settle_days(db._engine)
    assert await told(0, 14) == (keys[1], 8)
