"""Usage by the month on PostgreSQL: partitions ahead of time, records that are in none, each request counted once."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from gatewaydb import Database, DatabaseConfig, UsageRecord
from gatewaydb.engines.statements import load_statements
from gatewaydb.entities.base import new_id
from gatewaydb.metering import add_partitions
from gatewaydb.metering.partitions import LOOK_AGAIN
from tests.clock import ManualClock
from tests.conftest import MakeDatabase
from tests.postgres_server import RunningPostgres

KEY = new_id()
NOW = datetime(2031, 11, 15, 12, tzinfo=UTC)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
EDGE = datetime(2032, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def database_url(unpartitioned_postgres_url: str) -> str:
    """On PostgreSQL: SQLite has no partitions."""
    return unpartitioned_postgres_url


def _record(at: datetime, request_id: str | None = None, **values: Any) -> UsageRecord:
    return UsageRecord(api_key_id=KEY, request_timestamp=at, request_id=request_id, prompt_tokens=1, **values).checked()


async def _fetch(db: Database, sql: str, *arguments: Any) -> list[Any]:
    async with db.transaction() as tx:
        return [next(iter(row.values())) for row in await tx.fetch(sql, *arguments)]


async def _partitions(db: Database) -> list[str]:
    sql = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_records'::regclass ORDER BY 1"
    return [name.removeprefix("usage_records_") for name in await _fetch(db, sql)]


async def _where(db: Database) -> list[str]:
    """The partitions of the records, in the order of their times."""
    sql = "SELECT tableoid::regclass::text FROM usage_records ORDER BY request_timestamp, id"
    return [name.removeprefix("usage_records_") for name in await _fetch(db, sql)]


async def _requests(db: Database) -> int:
    """As many as records and summaries agree on."""
    assert (await db.verify_usage()).drifts == []
    totals = await db.usage.get_totals_by_api_key(KEY, *EVER)
    assert totals.requests == len(await db.usage.get_by_api_key(KEY, *EVER, limit=1000))
    return totals.requests


async def test_the_months_ahead_are_there_after_opening(make_database: MakeDatabase) -> None:
    """However many years the database was closed."""
    db = await make_database(clock=ManualClock(NOW))
    assert await _partitions(db) == ["2031_11", "2031_12", "2032_01", "2032_02", "default"]
    later = await make_database(clock=ManualClock(datetime(2047, 12, 31, 23, 59, tzinfo=UTC)))
    assert [name for name in await _partitions(later) if name > "2040"] == [
        "2047_12",
        "2048_01",
        "2048_02",
        "2048_03",
        "default",
    ]


async def test_a_month_that_begins_while_it_is_open_brings_the_next_partition(make_database: MakeDatabase) -> None:
    clock = ManualClock(datetime(2031, 11, 30, 23, 30, tzinfo=UTC))
    db = await make_database(clock=clock)
    assert "2032_03" not in await _partitions(db)
    clock.advance(LOOK_AGAIN.total_seconds())
    await asyncio.wait_for(_looked(db), 30)
    assert "2032_03" in await _partitions(db)


async def _looked(db: Database) -> None:
    looking = db._partitions._looking
    assert looking is not None
    await looking


async def test_a_check_that_an_operator_added_holds_in_new_partitions_too(make_database: MakeDatabase) -> None:
    db = await make_database(clock=ManualClock(NOW))
    async with db.transaction() as tx:
        await tx.execute("ALTER TABLE usage_records ADD CONSTRAINT small CHECK (prompt_tokens < 10)")
    later = await make_database(clock=ManualClock(NOW + timedelta(days=400)))
    assert "2032_12" in await _partitions(later)


async def test_each_record_is_in_the_partition_of_its_month(make_database: MakeDatabase) -> None:
    db = await make_database(clock=ManualClock(NOW))
    await db.usage.create_many([_record(EDGE - MICROSECOND), _record(EDGE), _record(EDGE + timedelta(31))])
    assert await _where(db) == ["2031_12", "2032_01", "2032_02"]


async def test_strays_are_in_the_default_partition_and_are_told_of(
    make_database: MakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock(NOW)
    db = await make_database(clock=clock)
    past, future = _record(datetime(2029, 2, 3, tzinfo=UTC)), _record(datetime(2077, 2, 3, tzinfo=UTC))
    await db.usage.create_many([past, future])
    assert await _where(db) == ["default", "default"]
    with caplog.at_level(logging.WARNING, "gatewaydb"):
        clock.advance(LOOK_AGAIN.total_seconds())
        await asyncio.wait_for(_looked(db), 30)
    assert [record.getMessage() for record in caplog.records] == [
        "1 usage records are of no month that has a partition"
    ]
    assert await _where(db) == ["2029_02", "default"]
    assert list(await db.usage.get_by_api_key(KEY, *EVER)) == [future, past]
    assert await db.usage.get_by_id(past.id) == past
    assert await db.usage.create_many([past, future]) == 0
    assert await _requests(db) == 2


async def test_a_month_of_strays_moves_whole_and_keeps_counting_once(make_database: MakeDatabase) -> None:
    db = await make_database(clock=ManualClock(NOW))
    old = datetime(2030, 5, 1, tzinfo=UTC)
    records = [_record(old + timedelta(hours=number), f"r{number}") for number in range(700)]
    await db.usage.create_many(records)
    assert set(await _where(db)) == {"default"}
    made = await add_partitions(db._engine)
    assert made == [date(2030, 5, 1)]
    assert set(await _where(db)) == {"2030_05"}
    assert await db.usage.create_many([replace(record, id=new_id()) for record in records]) == 0
    assert await _requests(db) == 700


async def test_two_processes_at_once_make_each_partition_once(make_database: MakeDatabase) -> None:
    first, second = await make_database(), await make_database()
    engines = [db._engine for db in (first, second) for _ in range(3)]
    for engine in engines:
        engine.clock = ManualClock(NOW)
    made = await asyncio.gather(*(add_partitions(engine) for engine in engines))
    assert sorted(month for months in made for month in months) == [
        date(2031, 11, 1),
        date(2031, 12, 1),
        date(2032, 1, 1),
        date(2032, 2, 1),
    ]


async def test_partitions_are_made_beside_writers(make_database: MakeDatabase) -> None:
    """Writers of strays wait while these are moved, and are then counted once."""
    writers, keeper = [await make_database() for _ in range(2)], await make_database(clock=ManualClock(NOW))
    old = datetime(2030, 5, 15, tzinfo=UTC)

    async def write(db: Database, number: int) -> None:
        for each in range(40):
            await db.usage.create(_record(old + timedelta(days=each % 3 * 30), f"{number}-{each}"))

    writing = [asyncio.create_task(write(db, number)) for number, db in enumerate(writers)]
    for _ in range(5):
        await add_partitions(keeper._engine)
    await asyncio.gather(*writing)
    await add_partitions(keeper._engine)
    assert set(await _where(keeper)) == {"2030_05", "2030_06", "2030_07"}
    assert await _requests(keeper) == 80


@pytest.fixture
async def guest(db: Database, config: DatabaseConfig, postgres: RunningPostgres) -> AsyncIterator[DatabaseConfig]:
    """As a role that may read and write and owns nothing."""
    role = f"gatewaydb_guest_{uuid4().hex[:8]}"
    async with db.transaction() as tx:
        await tx.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'only-for-tests'")
        await tx.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    place = str(config.url).rpartition("@")[2]
    yield DatabaseConfig(url=f"postgresql://{role}:only-for-tests@{place}")
    async with db.transaction() as tx:
        await tx.execute(f"DROP OWNED BY {role}")
        await tx.execute(f"DROP ROLE {role}")


async def test_who_may_make_no_partition_is_told_and_records_all_the_same(
    db: Database, guest: DatabaseConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "gatewaydb"):
        async with Database(guest, clock=ManualClock(NOW)) as limited:
            [warning] = [record.getMessage() for record in caplog.records]
            assert "default partition takes the records" in warning
            assert "2031_11" not in await _partitions(db)
            record = _record(NOW, "once")
            await limited.usage.create(record)
            assert await limited.usage.create_many([record, replace(record, id=new_id())]) == 0
            assert list(await limited.usage.get_by_api_key(KEY, *EVER)) == [record]
            await limited.monthly_summaries.refresh_summary(KEY, NOW.year, NOW.month)
            assert await _requests(limited) == 1


class TestEdge:
    """The same request counts once, on whichever side of a month's edge it is tried again."""

    @pytest.fixture
    async def db(self, make_database: MakeDatabase) -> Database:
        """With partitions on both sides of the edge."""
        return await make_database(clock=ManualClock(NOW))

    @pytest.mark.parametrize(
        "first", [EDGE - timedelta(hours=23), EDGE - MICROSECOND, EDGE, EDGE + timedelta(hours=23)]
    )
    @pytest.mark.parametrize(
        "other", [EDGE - timedelta(hours=12), EDGE - MICROSECOND, EDGE, EDGE + timedelta(minutes=1)]
    )
    async def test_a_request_id_counts_once(self, db: Database, first: datetime, other: datetime) -> None:
        await db.usage.create(_record(first, "r"))
        await db.usage.create(_record(other, "r"))
        assert await db.usage.create_many([_record(other, "r"), _record(first, "r")]) == 0
        assert await _requests(db) == 1

    async def test_an_id_counts_once(self, db: Database) -> None:
        record = _record(EDGE - MICROSECOND)
        await db.usage.create(record)
        assert await db.usage.create_many([replace(record, request_timestamp=EDGE)]) == 0
        assert await _requests(db) == 1

    @pytest.mark.parametrize("beside", [0, 300])
    async def test_in_one_batch(self, db: Database, beside: int) -> None:
        """Also in one so large that it is copied."""
        others = [_record(EDGE - timedelta(days=10) + timedelta(minutes=n), f"o{n}") for n in range(beside)]
        batch = [_record(EDGE - MICROSECOND, "r"), _record(EDGE, "r"), *others, _record(EDGE - MICROSECOND, "r")]
        assert await db.usage.create_many(batch) == 1 + beside
        assert await _requests(db) == 1 + beside

    async def test_concurrent_retries_on_both_sides(self, db: Database, make_database: MakeDatabase) -> None:
        databases = [db, *[await make_database(query_timeout="30s") for _ in range(3)]]
        chance = random.Random(4)
        sides = [EDGE - timedelta(minutes=1), EDGE + timedelta(minutes=1)]
        names = [f"r{number}" for number in range(60)]

        async def retry(each: Database) -> None:
            for _ in range(3):
                batch = [_record(chance.choice(sides), name) for name in chance.sample(names, 40)]
                await asyncio.gather(*(each.usage.create(record) for record in batch[:20]))
                await each.usage.create_many(batch[20:])

        await asyncio.gather(*(retry(each) for each in databases))
        assert await db.usage.create_many([_record(sides[0], name) for name in names]) <= 60
        assert await _requests(db) == 60
        assert await _fetch(db, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [0]

    async def test_the_same_request_id_of_other_keys_counts_for_each(self, db: Database) -> None:
        await db.usage.create(_record(EDGE, "r"))
        assert await db.usage.create_many([replace(_record(EDGE, "r"), api_key_id=new_id())]) == 1

    async def test_what_the_edge_holds_is_found_after_strays_were_moved(self, db: Database) -> None:
        edge = datetime(2029, 3, 1, tzinfo=UTC)
        await db.usage.create(_record(edge - MICROSECOND, "r"))
        await add_partitions(db._engine)
        assert await db.usage.create_many([_record(edge, "r")]) == 0
        assert await _requests(db) == 1


async def test_a_range_reads_the_partitions_of_its_time_only(make_database: MakeDatabase) -> None:
    db = await make_database(clock=ManualClock(NOW))
    await db.usage.create_many([_record(NOW + timedelta(days=number)) for number in range(100)])
    start, end = datetime(2031, 12, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC)
    values = {
        "api_key_id": KEY,
        "model_id": KEY,
        "start": start,
        "before": end,
        "end": end,
        "limit": 50,
        "offset": 0,
        "before_id": new_id(),
        "after": new_id(),
        "ids": [KEY],
        "first_day": start,
        "last_day": end,
    }
    for name in (
        "usage_record_list_by_api_key",
        "usage_record_list_by_model",
        "usage_record_list_range",
        "usage_record_count_range",
        "usage_verification_list_daily",
        "daily_usage_summary_renew",
    ):
        statement = load_statements("postgres")[name]
        plan = await _fetch(db, f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.bind(values))
        read = {
            node["Relation Name"].removeprefix("usage_records_")
            for node in _nodes(json.loads(plan[0])[0]["Plan"])
            if node.get("Relation Name", "").startswith("usage_records_")
        }
        assert read <= {"2031_12", "2032_01", "default"}, name  # `before` is part of the page
        assert "2031_11" not in read, name


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", []) for node in _nodes(inner))]


async def test_a_row_takes_at_most_400_bytes_with_its_indexes(make_database: MakeDatabase) -> None:
    """As gateways write them: request ids that are UUIDs, many keys and models, a little metadata."""
    db = await make_database(clock=ManualClock(NOW), query_timeout="60s")
    chance = random.Random(400)
    keys, models = [new_id() for _ in range(50)], [new_id() for _ in range(20)]
    count = 100_000
    records = [
        UsageRecord(
            api_key_id=chance.choice(keys),
            model_id=(model := chance.choice(models)),
            model_name=f"openai/gpt-{model.hex[-4:]}",
            endpoint="/v1/chat/completions",
            request_timestamp=NOW + timedelta(seconds=number),
            request_id=str(uuid4()),
            prompt_tokens=chance.randrange(10_000),
            completion_tokens=chance.randrange(2_000),
            cached_tokens=chance.randrange(100),
            cost_usd=Decimal(chance.randrange(10**11)).scaleb(-12),
            price_version=1,
            response_time_ms=chance.randrange(30_000),
            status_code=200,
            request_metadata={"team": "research"} if number % 5 == 0 else {},
        )
        for number in range(count)
    ]
    assert await db.usage.create_many(records) == count
    sql = "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'usage_records'::regclass"
    [size] = await _fetch(db, sql)
    assert size / count <= 400
