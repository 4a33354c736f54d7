"""Old records go by the month, what was spent stays, and nobody has to wait for it."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from gatewaydb import Database, DatabaseConfig, GatewayDBError, InvalidValueError, QueryTimeoutError, UsageRecord
from gatewaydb.entities.base import new_id
from gatewaydb.metering import retention
from gatewaydb.metering.retention import Pace
from tests.clock import ManualClock
from tests.conftest import MakeDatabase

KEY = new_id()
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def _record(at: datetime, number: int = 0) -> UsageRecord:
    return UsageRecord(
        api_key_id=KEY,
        model_id=(None, KEY)[number % 2],
        request_timestamp=at,
        request_id=f"{at}-{number}",
        prompt_tokens=10,
        cost_usd=Decimal("0.1"),
    ).checked()


RECORDS = [_record(datetime(2026, month, day, 3, tzinfo=UTC), day) for month in range(1, 7) for day in (1, 7, 14, 15)]


@pytest.fixture(params=["sqlite_url", "unpartitioned_postgres_url"])
def database_url(request: pytest.FixtureRequest) -> str:
    """With the partitions that each test's own clock brings."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def db(make_database: MakeDatabase) -> Database:
    """In June, with four records of each month since January."""
    db = await make_database(clock=ManualClock(NOW))
    await db.usage.create_many(RECORDS)
    return db


async def _kept(db: Database) -> list[UsageRecord]:
    return sorted(await db.usage.get_by_api_key(KEY, *EVER), key=lambda record: record.request_timestamp)


async def _sums(db: Database) -> dict[int, int]:
    return {each.month: each.total_requests for each in await db.monthly_summaries.get_by_api_key(KEY)}


async def test_whole_months_go_and_their_sums_stay(db: Database) -> None:
    totals = await db.usage.get_totals_by_api_key(KEY, *EVER)
    report = await db.prune_usage(older_than=timedelta(75))  # on April 1st, at noon
    assert report.before == datetime(2026, 4, 1, tzinfo=UTC)
    assert [(month.first_day.month, month.requests) for month in report.months] == [(1, 4), (2, 4), (3, 4)]
    assert await _kept(db) == RECORDS[12:]
    assert await _sums(db) == dict.fromkeys(range(1, 7), 4)
    assert await db.usage.get_totals_by_api_key(KEY, *EVER) == totals
    assert (await db.verify_usage()).drifts == []


async def test_a_dry_run_says_the_same_and_changes_nothing(db: Database) -> None:
    asked = await db.prune_usage(older_than=timedelta(75), dry_run=True)
    assert await _kept(db) == RECORDS
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
        await db.usage.create(_record(datetime(2026, 3, 31, tzinfo=UTC)))


async def test_the_current_month_never_goes(db: Database) -> None:
    report = await db.prune_usage(before=NOW)
    assert report.before == datetime(2026, 6, 1, tzinfo=UTC)
    assert await _kept(db) == RECORDS[20:]


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
    assert await _kept(db) == RECORDS


async def test_a_late_replay_is_refused_alone(db: Database) -> None:
    """What was pruned would count twice; who records beside it notices nothing."""
    await db.prune_usage(older_than=timedelta(75))
    late = [
        RECORDS[0],
        replace(RECORDS[11], id=new_id()),
        _record(datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ]
    timely = [_record(datetime(2026, 4, 1, tzinfo=UTC)), _record(NOW)]
    ended = await asyncio.gather(*(db.usage.create(record) for record in [*late, *timely]), return_exceptions=True)
    assert [type(each) for each in ended] == [InvalidValueError] * 3 + [UsageRecord] * 2
    assert "was pruned" in str(ended[0])
    with pytest.raises(InvalidValueError, match="was pruned"):
        await db.usage.create_many([*timely, *late])
    assert await _sums(db) == {1: 4, 2: 4, 3: 4, 4: 5, 5: 4, 6: 5}
    assert (await db.verify_usage()).drifts == []


async def test_months_without_records_are_refused_as_well(db: Database, make_database: MakeDatabase) -> None:
    await db.prune_usage(before=datetime(2025, 3, 1, tzinfo=UTC))
    with pytest.raises(InvalidValueError, match="was pruned"):
        await db.usage.create(_record(datetime(2025, 2, 28, tzinfo=UTC)))
    await db.usage.create(_record(datetime(2025, 3, 1, tzinfo=UTC)))


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
    assert await _kept(db) == RECORDS[20:]


async def test_a_prune_that_was_interrupted_is_ended_by_the_next(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "Pace", lambda: _Fixed(3))
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
    left = await _kept(db)
    assert 4 < len(left) < 24
    with pytest.raises(InvalidValueError, match="was pruned"):
        await db.usage.create(_record(datetime(2026, 1, 2, tzinfo=UTC)))
    assert (await db.verify_usage(repair=True)).drifts == []
    monkeypatch.setattr(retention, "_batches", original)
    assert (await db.prune_usage(before=NOW)).deleted == len(left) - 4
    assert await _kept(db) == RECORDS[20:]
    assert await _sums(db) == dict.fromkeys(range(1, 7), 4)


class _Fixed(Pace):
    def learn(self, held_s: float) -> None:
        """Stays as it is."""


async def test_progress_counts_what_is_deleted(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "Pace", lambda: _Fixed(3))
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


class TestPartitions:
    """PostgreSQL only: SQLite has none."""

    @pytest.fixture
    def database_url(self, unpartitioned_postgres_url: str) -> str:
        """On PostgreSQL."""
        return unpartitioned_postgres_url

    @pytest.fixture
    async def db(self, make_database: MakeDatabase) -> Database:
        """In June, each month in its partition."""
        clock = ManualClock(NOW)
        db = await make_database(clock=clock)
        await db.usage.create_many(RECORDS)
        assert db._partitions._looking is None
        await db._partitions._look()
        assert "usage_records_2026_01" in await _partitions(db)
        return db

    async def test_partitions_are_dropped(self, db: Database) -> None:
        report = await db.prune_usage(older_than=timedelta(75))
        assert [month.first_day for month in report.months] == [date(2026, month, 1) for month in (1, 2, 3)]
        assert report.deleted == 0
        assert [name for name in await _partitions(db) if name < "usage_records_2026_04"] == []
        assert await _tables(db, "%2026_0_%") == await _partitions(db, "usage_records_2026%")
        assert await _kept(db) == RECORDS[12:]
        assert (await db.verify_usage()).drifts == []

    async def test_detached_ones_stay_as_tables(self, db: Database) -> None:
        report = await db.prune_usage(before=datetime(2026, 3, 1, tzinfo=UTC), detach=True)
        assert [month.detached_as for month in report.months] == [
            "usage_records_2026_01_detached",
            "usage_records_2026_02_detached",
        ]
        async with db.transaction() as tx:
            rows = await tx.fetch("SELECT id FROM usage_records_2026_02_detached ORDER BY request_timestamp")
        assert [row["id"] for row in rows] == [record.id for record in RECORDS[4:8]]
        assert await _kept(db) == RECORDS[8:]
        assert (await db.prune_usage(before=NOW)).before == datetime(2026, 6, 1, tzinfo=UTC)
        assert len(await _tables(db, "%_detached")) == 2

    async def test_claims_of_that_time_go_but_for_the_last_day(self, db: Database) -> None:
        edge = datetime(2026, 4, 1, tzinfo=UTC)
        last = _record(edge - timedelta(seconds=1))
        await db.usage.create(last)
        await db.prune_usage(before=edge)
        assert await db.usage.create_many([replace(last, id=new_id(), request_timestamp=edge)]) == 0
        async with db.transaction() as tx:
            [row] = await tx.fetch("SELECT min(request_timestamp) AS first FROM usage_claims")
        assert row["first"] == last.request_timestamp

    async def test_a_long_reader_is_not_queued_behind(
        self, db: Database, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who reads for long keeps the partition; who writes meanwhile waits for a moment at most."""
        monkeypatch.setattr(retention, "PATIENCE_S", 0)
        reader, writer = await make_database(), await make_database(query_timeout="2s")
        async with reader.transaction() as tx:
            await tx.usage.get_by_api_key(KEY, *EVER)
            writing = asyncio.create_task(_write(writer, 40))
            with pytest.raises(QueryTimeoutError, match="2026-01"):
                await db.prune_usage(before=NOW)
            await writing
        assert "usage_records_2026_01" in await _partitions(db)
        assert (await db.prune_usage(before=NOW)).months[0].first_day == date(2026, 1, 1)

    async def test_it_tries_again_until_it_gets_through(self, db: Database, make_database: MakeDatabase) -> None:
        reader = await make_database()
        async with reader.transaction() as tx:
            await tx.usage.get_by_api_key(KEY, *EVER)
            pruning = asyncio.create_task(db.prune_usage(before=NOW))
            done, _ = await asyncio.wait([pruning], timeout=0.3)
            assert not done
        await pruning
        assert await _kept(db) == RECORDS[20:]

    async def test_pruning_beside_writers_loses_nothing(self, db: Database, make_database: MakeDatabase) -> None:
        writers = [await make_database() for _ in range(3)]
        writing = [asyncio.create_task(_write(writer, 60, number)) for number, writer in enumerate(writers, 1)]
        pruning = [asyncio.create_task(each.prune_usage(before=NOW)) for each in (db, writers[0])]
        await asyncio.gather(*writing, *pruning)
        assert (await db.verify_usage()).drifts == []
        assert (await _sums(db))[6] == 4 + 180
        assert [name for name in await _partitions(db) if name < "usage_records_2026_06"] == []

    async def test_who_may_not_drop_tables_changes_nothing(self, db: Database, config: DatabaseConfig) -> None:
        async with db.transaction() as tx:
            await tx.execute("CREATE ROLE gatewaydb_pruner LOGIN")
            await tx.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO gatewaydb_pruner")
        try:
            async with db.transaction() as tx:
                await tx.execute("SET ROLE gatewaydb_pruner")
                with pytest.raises(GatewayDBError, match="owner"):
                    await tx._transaction.fetch_one("usage_retention_remove_month", month=date(2026, 1, 1), keep=False)
                raise _EnoughError
        except _EnoughError:
            pass
        finally:
            async with db.transaction() as tx:
                await tx.execute("DROP OWNED BY gatewaydb_pruner")
                await tx.execute("DROP ROLE gatewaydb_pruner")
        assert await _kept(db) == RECORDS


class _EnoughError(Exception):
    pass


async def _write(db: Database, count: int, seed: int = 0) -> None:
    for number in range(count):
        await db.usage.create(_record(NOW, 1000 * (seed + 1) + number))


async def _partitions(db: Database, like: str = "usage_records_2%") -> list[str]:
    async with db.transaction() as tx:
        sql = (
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = 'usage_records'::regclass AND inhrelid::regclass::text LIKE $1 ORDER BY 1"
        )
        return [row["name"] for row in await tx.fetch(sql, like)]


async def _tables(db: Database, like: str) -> list[str]:
    async with db.transaction() as tx:
        sql = "SELECT tablename AS name FROM pg_tables WHERE tablename LIKE $1 ORDER BY 1"
        return [row["name"] for row in await tx.fetch(sql, like)]


class TestSQLite:
    """SQLite only."""

    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        """On SQLite."""
        return sqlite_url

    async def test_detaching_is_refused(self, db: Database) -> None:
        with pytest.raises(InvalidValueError, match="detach"):
            await db.prune_usage(before=NOW, detach=True)

    async def test_freed_pages_are_used_again(self, db: Database, config: DatabaseConfig) -> None:
        """The file does not shrink, and does not grow either."""
        may = datetime(2026, 5, 2, tzinfo=UTC)
        await db.usage.create_many([_record(may + timedelta(seconds=n), n) for n in range(4000)])
        before = (await db.contents()).size_bytes
        await db.prune_usage(before=NOW)
        with closing(sqlite3.connect(str(config.sqlite_path))) as connection:
            assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 100
        await db.usage.create_many([_record(NOW - timedelta(seconds=n), n) for n in range(4000)])
        assert (await db.contents()).size_bytes <= before * 1.05

    async def test_others_get_their_turn_between_batches(
        self, db: Database, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process's connection writes while it goes on: each write waits for one batch, and not for all."""
        monkeypatch.setattr(retention, "Pace", lambda: _Fixed(2))
        other = await make_database(clock=ManualClock(NOW))
        written_at: list[int] = []

        async def write() -> None:
            while not pruning.done():
                await other.usage.create(_record(NOW, len(written_at) + 100))
                written_at.append(deleted)

        deleted = 0

        def progress(done: int, total: int) -> None:
            nonlocal deleted
            deleted = done

        pruning = asyncio.create_task(db.prune_usage(before=NOW, progress=progress))
        await write()
        assert (await pruning).deleted == 20
        assert len(set(written_at)) > 3
        assert (await db.verify_usage()).drifts == []
