"""PostgreSQL drops old partitions, SQLite deletes in batches, and nobody has to wait for either."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec.structs import replace

from gatewaydb import Database, DatabaseConfig, GatewayDBError, InvalidValueError, QueryTimeoutError
from gatewaydb.engines.sqlite_transaction import SQLiteTransaction
from gatewaydb.entities.base import new_id
from gatewaydb.metering import retention
from tests.clock import ManualClock
from tests.conformance.retention import EVER, KEY, NOW, RECORDS, FixedPace, in_june, kept, record, sums
from tests.conftest import MakeDatabase


class TestPartitions:
    """PostgreSQL only: SQLite has none."""

    @pytest.fixture
    def database_url(self, unpartitioned_postgres_url: str) -> str:
        """On PostgreSQL."""
        return unpartitioned_postgres_url

    @pytest.fixture
    async def db(self, make_database: MakeDatabase) -> Database:
        """In June, each month in its partition."""
        db = await in_june(make_database)
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
        assert await kept(db) == RECORDS[12:]
        assert (await db.verify_usage()).drifts == []

    async def test_detached_ones_stay_as_tables(self, db: Database) -> None:
        report = await db.prune_usage(before=datetime(2026, 3, 1, tzinfo=UTC), detach=True)
        assert [month.detached_as for month in report.months] == [
            "usage_records_2026_01_detached",
            "usage_records_2026_02_detached",
        ]
        async with db.transaction() as tx:
            rows = await tx.fetch("SELECT id FROM usage_records_2026_02_detached ORDER BY request_timestamp")
        assert [row["id"] for row in rows] == [each.id for each in RECORDS[4:8]]
        assert await kept(db) == RECORDS[8:]
        assert (await db.prune_usage(before=NOW)).before == datetime(2026, 6, 1, tzinfo=UTC)
        assert len(await _tables(db, "%_detached")) == 2

    async def test_claims_of_that_time_go_but_for_the_last_day(self, db: Database) -> None:
        edge = datetime(2026, 4, 1, tzinfo=UTC)
        last = record(edge - timedelta(seconds=1))
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
        assert await kept(db) == RECORDS[20:]

    async def test_pruning_beside_writers_loses_nothing(self, db: Database, make_database: MakeDatabase) -> None:
        writers = [await make_database() for _ in range(3)]
        writing = [asyncio.create_task(_write(writer, 60, number)) for number, writer in enumerate(writers, 1)]
        pruning = [asyncio.create_task(each.prune_usage(before=NOW)) for each in (db, writers[0])]
        await asyncio.gather(*writing, *pruning)
        assert (await db.verify_usage()).drifts == []
        assert (await sums(db))[6] == 4 + 180
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
        assert await kept(db) == RECORDS


class _EnoughError(Exception):
    pass


async def _write(db: Database, count: int, seed: int = 0) -> None:
    for number in range(count):
        await db.usage.create(record(NOW, 1000 * (seed + 1) + number))


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

    @pytest.fixture
    async def db(self, make_database: MakeDatabase) -> Database:
        """In June."""
        return await in_june(make_database)

    async def test_detaching_is_refused(self, db: Database) -> None:
        with pytest.raises(InvalidValueError, match="detach"):
            await db.prune_usage(before=NOW, detach=True)

    async def test_freed_pages_are_used_again(self, db: Database, config: DatabaseConfig) -> None:
        """The file does not shrink, and does not grow either."""
        may = datetime(2026, 5, 2, tzinfo=UTC)
        await db.usage.create_many([record(may + timedelta(seconds=n), n) for n in range(4000)])
        before = (await db.contents()).size_bytes
        await db.prune_usage(before=NOW)
        with closing(sqlite3.connect(str(config.sqlite_path))) as connection:
            assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 100
        await db.usage.create_many([record(NOW - timedelta(seconds=n), n) for n in range(4000)])
        assert (await db.contents()).size_bytes <= before * 1.05

    async def test_others_get_their_turn_between_batches(
        self, db: Database, make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process's connection writes while it goes on: each write waits for one batch, and not for all."""
        monkeypatch.setattr(retention, "Pace", lambda: FixedPace(2))
        other = await make_database(clock=ManualClock(NOW))
        written_at: list[int] = []

        async def write() -> None:
            while not pruning.done():
                await other.usage.create(record(NOW, len(written_at) + 100))
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

    async def test_the_pace_counts_the_commit(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        held: list[float] = []
        control = SQLiteTransaction.control

        async def slow_to_commit(transaction: SQLiteTransaction, sql: str) -> None:
            await control(transaction, sql)
            if sql == "COMMIT":
                db._engine.clock.advance(0.25)  # type: ignore[attr-defined]

        monkeypatch.setattr(SQLiteTransaction, "control", slow_to_commit)
        monkeypatch.setattr(FixedPace, "learn", lambda _, held_s: held.append(held_s))
        monkeypatch.setattr(retention, "Pace", lambda: FixedPace(3))
        await db.prune_usage(before=NOW)
        assert set(held) == {0.25}
