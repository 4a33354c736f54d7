"""Old records go by the month, and what was spent stays. Each engine's own is in `test_retention_engines.py`."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from gatewaydb import Database, GatewayDBError, InvalidValueError, UsageRecord
from gatewaydb.entities.base import new_id
from gatewaydb.metering import retention
from gatewaydb.metering.retention import Pace
from tests.conformance.retention import EVER, KEY, NOW, RECORDS, FixedPace, in_june, kept, record, sums
from tests.conftest import MakeDatabase


@pytest.fixture(params=["sqlite_url", "unpartitioned_postgres_url"])
def database_url(request: pytest.FixtureRequest) -> str:
    """With the partitions that each test's own clock brings."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def db(make_database: MakeDatabase) -> Database:
    """In June, with four records of each month since January."""
    return await in_june(make_database)


async def test_whole_months_go_and_their_sums_stay(db: Database) -> None:
    totals = await db.usage.get_totals_by_api_key(KEY, *EVER)
    report = await db.prune_usage(older_than=timedelta(75))  # on April 1st, at noon
    assert report.before == datetime(2026, 4, 1, tzinfo=UTC)
    assert [(month.first_day.month, month.requests) for month in report.months] == [(1, 4), (2, 4), (3, 4)]
    assert await kept(db) == RECORDS[12:]
    assert await sums(db) == dict.fromkeys(range(1, 7), 4)
    assert await db.usage.get_totals_by_api_key(KEY, *EVER) == totals
    assert (await db.verify_usage()).drifts == []


async def test_a_dry_run_says_the_same_and_changes_nothing(db: Database) -> None:
    asked = await db.prune_usage(older_than=timedelta(75), dry_run=True)
    assert await kept(db) == RECORDS
    done = await db.prune_usage(older_than=timedelta(75))
    assert asked.months == done.months
    assert asked.before == done.before


async def test_pruning_again_finds_nothing(db: Database) -> None:
    await db.prune_usage(older_than=timedelta(75))
    again = await db.prune_usage(older_than=timedelta(75))
    assert (again.months, again.deleted) == ([], 0)
    earlier = await db.prune_usage(older_than=timedelta(140))
    assert earlier.months == []
    with pytest.raises(InvalidValueError, match="pruned"):
        await db.usage.create(record(datetime(2026, 3, 31, tzinfo=UTC)))


async def test_the_current_month_never_goes(db: Database) -> None:
    report = await db.prune_usage(before=NOW)
    assert report.before == datetime(2026, 6, 1, tzinfo=UTC)
    assert await kept(db) == RECORDS[20:]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"older_than": timedelta(0)},
        {"older_than": timedelta(hours=23)},
        {"older_than": timedelta(-400)},
        {"older_than": "400d"},
        {"older_than": timedelta.max},
        {"before": NOW + timedelta(seconds=1)},
        {"before": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"before": NOW, "older_than": timedelta(400)},
    ],
)
async def test_a_cut_off_that_makes_no_sense_is_refused(db: Database, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        await db.prune_usage(**asked)
    assert await kept(db) == RECORDS


async def test_a_late_replay_is_refused_alone(db: Database) -> None:
    """What was pruned would count twice; who records beside it notices nothing."""
    await db.prune_usage(older_than=timedelta(75))
    late = [
        RECORDS[0],
        replace(RECORDS[11], id=new_id()),
        record(datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ]
    timely = [record(datetime(2026, 4, 1, tzinfo=UTC)), record(NOW)]
    ended = await asyncio.gather(*(db.usage.create(each) for each in [*late, *timely]), return_exceptions=True)
    assert [type(each) for each in ended] == [InvalidValueError] * 3 + [UsageRecord] * 2
    assert "was pruned" in str(ended[0])
    with pytest.raises(InvalidValueError, match="was pruned"):
        await db.usage.create_many([*timely, *late])
    assert await sums(db) == {1: 4, 2: 4, 3: 4, 4: 5, 5: 4, 6: 5}
    assert (await db.verify_usage()).drifts == []


async def test_months_without_records_are_refused_as_well(db: Database, make_database: MakeDatabase) -> None:
    await db.prune_usage(before=datetime(2025, 3, 1, tzinfo=UTC))
    with pytest.raises(InvalidValueError, match="was pruned"):
        await db.usage.create(record(datetime(2025, 2, 28, tzinfo=UTC)))
    await db.usage.create(record(datetime(2025, 3, 1, tzinfo=UTC)))


async def test_refreshing_a_pruned_month_keeps_its_days(db: Database, dialect: str) -> None:
    before = [replace(each, updated_at=NOW) for each in await db.monthly_summaries.get_by_api_key(KEY)]
    await db.prune_usage(older_than=timedelta(75))
    async with db.transaction() as tx:
        await tx.execute("UPDATE monthly_usage_summaries SET total_requests = 77")
    found = await db.verify_usage(repair=True)
    assert (found.drifted, found.repaired) == (6, 6)
    after = [replace(each, updated_at=NOW) for each in await db.monthly_summaries.get_by_api_key(KEY)]
    assert after == before


async def test_strays_of_old_months_go_too(db: Database) -> None:
    """Of months that have no partition yet, as the hourly look has not come by."""
    report = await db.prune_usage(before=NOW)
    assert report.deleted == 20  # on PostgreSQL from the default partition, on SQLite from the one table
    assert await kept(db) == RECORDS[20:]


async def test_a_prune_that_was_interrupted_is_ended_by_the_next(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "Pace", lambda: FixedPace(3))
    original = retention._batches
    batches = 0

    async def interrupted(*args: Any, **values: Any) -> Any:
        nonlocal batches
        async for deleted in original(*args, **values):
            yield deleted
            batches += 1
            if batches == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(retention, "_batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await db.prune_usage(before=NOW)
    left = await kept(db)
    assert 4 < len(left) < 24
    with pytest.raises(InvalidValueError, match="was pruned"):
        await db.usage.create(record(datetime(2026, 1, 2, tzinfo=UTC)))
    assert (await db.verify_usage(repair=True)).drifts == []
    monkeypatch.setattr(retention, "_batches", original)
    assert (await db.prune_usage(before=NOW)).deleted == len(left) - 4
    assert await kept(db) == RECORDS[20:]
    assert await sums(db) == dict.fromkeys(range(1, 7), 4)


async def test_progress_counts_what_is_deleted(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "Pace", lambda: FixedPace(3))
    seen: list[tuple[int, int]] = []
    await db.prune_usage(before=NOW, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


def test_the_pace_follows_the_time_that_a_batch_took() -> None:
    pace = Pace()
    for _ in range(20):
        pace.learn(pace.rows * 0.0001)  # 100 us a row
    assert 100 <= pace.rows <= 200
    pace.learn(1.0)
    assert pace.rows == Pace.ROWS_MIN
    for _ in range(20):
        pace.learn(0.0)
    assert pace.rows == Pace.ROWS_MAX


async def test_inside_a_transaction_it_is_refused(db: Database) -> None:
    async with db.transaction():
        with pytest.raises(GatewayDBError, match="transaction"):
            await db.prune_usage(before=NOW)
