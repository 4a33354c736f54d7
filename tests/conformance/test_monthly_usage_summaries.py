import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from msgspec.structs import replace

from gatewaydb import Database, MonthlyUsageSummary, MonthlyUsageSummaryNotFoundError, UsageRecord
from gatewaydb.entities.base import new_id
from tests.clock import ManualClock
from tests.conftest import MakeDatabase

KEY = new_id()


def _record(at: datetime, key: UUID = KEY, cost: str | None = "0.1") -> UsageRecord:
    return UsageRecord(
        api_key_id=key,
        request_timestamp=at,
        prompt_tokens=10,
        completion_tokens=5,
        cost_usd=None if cost is None else Decimal(cost),
    )


def _without_stamp(summary: MonthlyUsageSummary) -> MonthlyUsageSummary:
    return replace(summary, updated_at=datetime.min.replace(tzinfo=UTC))


async def test_a_summary_follows_every_record(db: Database) -> None:
    first, last = datetime(2026, 1, 3, tzinfo=UTC), datetime(2026, 1, 30, 1, 2, 3, 456_789, tzinfo=UTC)
    await db.usage.create_many([_record(last, cost="0.100000000001"), _record(first, cost=None)])
    await db.usage.create(_record(first, cost="2"))
    summary = await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 1)
    assert summary == MonthlyUsageSummary(
        api_key_id=KEY,
        year=2026,
        month=1,
        total_requests=3,
        unpriced_requests=1,
        total_prompt_tokens=30,
        total_completion_tokens=15,
        total_tokens=45,
        total_cost_usd=Decimal("2.100000000001"),
        last_request_at=last,
        updated_at=summary.updated_at,
    )
    assert datetime.now(UTC) - summary.updated_at < timedelta(minutes=5)


async def test_months_are_utc(db: Database) -> None:
    new_york, tonga = timezone(timedelta(hours=-5)), timezone(timedelta(hours=13))
    edges = {
        datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC): 1,
        datetime(2026, 2, 1, tzinfo=UTC): 2,
        datetime(2026, 2, 28, 18, 59, 59, 999_999, tzinfo=new_york): 2,
        datetime(2026, 2, 28, 19, tzinfo=new_york): 3,
        datetime(2026, 4, 1, 12, 59, tzinfo=tonga): 3,
    }
    await db.usage.create_many([_record(at) for at in edges])
    counts = {summary.month: summary.total_requests for summary in await db.monthly_summaries.get_by_api_key(KEY)}
    assert counts == {1: 1, 2: 2, 3: 2}
    for month, count in counts.items():
        assert (await db.monthly_summaries.refresh_summary(KEY, 2026, month)).total_requests == count


async def test_december_ends_with_the_year(db: Database) -> None:
    await db.usage.create_many([_record(datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))])
    await db.usage.create_many([_record(datetime(2027, 1, 1, tzinfo=UTC))])
    assert (await db.monthly_summaries.refresh_summary(KEY, 2026, 12)).total_requests == 1
    assert (await db.monthly_summaries.refresh_summary(KEY, 2027, 1)).total_requests == 1


async def test_a_month_without_usage_is_not_found_until_it_is_refreshed(db: Database) -> None:
    with pytest.raises(MonthlyUsageSummaryNotFoundError, match="2026-07"):
        await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7)
    empty = await db.monthly_summaries.refresh_summary(KEY, 2026, 7)
    assert (empty.total_requests, empty.total_cost_usd, empty.last_request_at) == (0, Decimal(0), None)
    await db.usage.create(_record(datetime(2026, 7, 1, tzinfo=UTC)))
    summary = await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7)
    assert (summary.total_requests, summary.last_request_at) == (1, datetime(2026, 7, 1, tzinfo=UTC))


async def test_a_refresh_repairs_what_was_changed_by_hand(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    await db.usage.create_many([_record(datetime(2026, 7, day, tzinfo=UTC)) for day in range(1, 32)])
    before = await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7)
    async with db.transaction() as tx:
        await tx.execute("UPDATE monthly_usage_summaries SET total_requests = 7, total_tokens = 0")
    repaired = await db.monthly_summaries.refresh_summary(KEY, 2026, 7)
    assert _without_stamp(repaired) == _without_stamp(before)
    assert repaired.updated_at == clock.now()
    assert await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7) == repaired


async def test_a_refresh_agrees_with_what_was_kept(db: Database) -> None:
    await db.usage.create_many([_record(datetime(2026, 7, 1, tzinfo=UTC), cost="9000000") for _ in range(30)])
    kept = await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7)
    assert kept.total_cost_usd == 30 * Decimal(9_000_000)
    assert _without_stamp(await db.monthly_summaries.refresh_summary(KEY, 2026, 7)) == _without_stamp(kept)


async def test_a_refresh_beside_writers_loses_nothing(make_database: MakeDatabase) -> None:
    at = datetime(2026, 7, 1, tzinfo=UTC)
    writer, refresher = await make_database(), await make_database()
    await asyncio.gather(
        *(writer.usage.create(_record(at)) for _ in range(50)),
        *(refresher.monthly_summaries.refresh_summary(KEY, 2026, 7) for _ in range(20)),
        *(writer.usage.create_many([_record(at)] * 2 + [_record(at)]) for _ in range(25)),
    )
    kept = await writer.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7)
    assert kept.total_requests == 100
    assert kept.total_cost_usd == Decimal(10)


async def test_the_months_of_a_key_come_latest_first(db: Database) -> None:
    months = [(2025, 12), (2026, 2), (2024, 3), (2026, 11)]
    await db.usage.create_many([_record(datetime(year, month, 5, tzinfo=UTC)) for year, month in months])
    await db.usage.create(_record(datetime(2026, 5, 5, tzinfo=UTC), new_id()))
    listed = [(each.year, each.month) for each in await db.monthly_summaries.get_by_api_key(KEY)]
    assert listed == sorted(months, reverse=True)
    page = await db.monthly_summaries.get_by_api_key(KEY, limit=2, offset=1)
    assert [(each.year, each.month) for each in page] == [(2026, 2), (2025, 12)]


async def test_rows_that_sql_inserts_count_too(db: Database, dialect: str) -> None:
    await db.usage.create(_record(datetime(2026, 7, 1, tzinfo=UTC)))
    cost = "cost_picousd" if dialect == "sqlite" else "cost_usd"
    async with db.transaction() as tx:
        await tx.execute(
            f"INSERT INTO usage_records (id, api_key_id, request_timestamp, prompt_tokens, completion_tokens, "
            f"total_tokens, cached_tokens, reasoning_tokens, {cost}) SELECT $1, api_key_id, request_timestamp, "
            f"prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens, {cost} "
            f"FROM usage_records",
            new_id(),
        )
    summary = await db.monthly_summaries.get_by_api_key_and_month(KEY, 2026, 7)
    assert (summary.total_requests, summary.total_cost_usd) == (2, Decimal("0.2"))
