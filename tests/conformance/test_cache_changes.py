"""The log of changes, and how each engine notices that there is something to read in it."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import asyncpg
import pytest

from gatewaydb import (
    APIKeyDisabledError,
    Database,
    DatabaseConfig,
    Model,
)
from gatewaydb.engines import postgres_changes
from tests.clock import ManualClock, until
from tests.conformance.coherence import (
    Stored,
    all_is_seen,
    enabled,
    holds,
    read,
    read_model,
    when_looked,
)
from tests.conftest import MakeDatabase


@pytest.fixture
def config(config: DatabaseConfig) -> DatabaseConfig:
    """Nobody waits a second for the next reading of PostgreSQL's log."""
    return dataclasses.replace(config, change_poll_interval=timedelta(milliseconds=20))


class TestTheLogOfSQLite:
    @pytest.fixture
    def database_url(self, sqlite_url: str) -> str:
        return sqlite_url

    async def test_who_finds_a_gap_forgets_everything(
        self, make_database: MakeDatabase, clock: ManualClock, sql: Callable[[str], None]
    ) -> None:
        db = await make_database(clock=clock)
        key, secret = await db.api_keys.issue("a")
        await db.api_keys.authenticate(secret)
        sql(f"UPDATE api_keys SET enabled = FALSE WHERE id = '{key.id}'; DELETE FROM cache_changes;")
        sql("UPDATE models SET name = name; INSERT INTO cache_changes (noun, key) VALUES ('models', 'x')")
        assert await db.api_keys.authenticate(secret) == key
        clock.advance(0.05)
        with pytest.raises(APIKeyDisabledError):
            await db.api_keys.authenticate(secret)
        assert db.stats().change_feed.clears == 1

    async def test_the_log_keeps_ten_thousand_changes(self, db: Database, sql: Callable[[str], None]) -> None:
        sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10500)"
            "INSERT INTO api_keys SELECT i, 'k', i, '[]', NULL, NULL, 1, NULL, '', '' FROM n"
        )
        async with db.transaction() as tx:
            assert await tx.fetch("SELECT count(*) AS n, max(id) AS last FROM cache_changes") == [
                {"n": 10_000, "last": 10_500}
            ]

    async def test_a_row_that_is_replaced_is_told_of(
        self, db: Database, stored: Stored, sql: Callable[[str], None]
    ) -> None:
        sql("REPLACE INTO api_keys SELECT id, name, 'new', '[]', 1, 1, 1, 1, '', '' FROM api_keys WHERE name = 'key'")
        await until(lambda: holds(read(db, "hash"), None))
        sql("REPLACE INTO model_aliases SELECT id, 'nickname', model_id, 1, '', '' FROM model_aliases")
        await until(lambda: holds(read_model(db, "alias"), None))


class TestTheLogOfPostgreSQL:
    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.fixture
    async def polling(self, make_database: MakeDatabase) -> Database:
        return await make_database(change_notifications=False)

    @pytest.mark.parametrize("setting", ["prepared_statements", "change_notifications"])
    async def test_without_notifications_the_log_is_read(
        self, make_database: MakeDatabase, elsewhere: Database, setting: str
    ) -> None:
        db = await make_database(**{setting: False})
        key, secret = await elsewhere.api_keys.issue("a")
        await db.api_keys.authenticate(secret)
        await elsewhere.api_keys.set_enabled(key.id, False)
        await until(lambda: holds(enabled(db, key.key_hash), False))
        feed = db.stats().change_feed
        assert (feed.listener, feed.messages) == ("polling", 0)

    async def test_messages_alone_are_enough(self, make_database: MakeDatabase, elsewhere: Database) -> None:
        db = await make_database(change_poll_interval="5m")
        key, _ = await elsewhere.api_keys.issue("a")
        model = await elsewhere.models.create(Model(name="a"))
        await until(lambda: db.stats().change_feed.messages == 2)
        await db.api_keys.get_by_hash(key.key_hash)
        await db.models.get_by_name("a")
        async with elsewhere.transaction() as tx:
            await tx.api_keys.set_enabled(key.id, False)
            await tx.models.delete(model.id)
        await until(lambda: holds(enabled(db, key.key_hash), False))
        assert await read_model(db, "a") is None
        assert (db.stats().change_feed.messages, db.stats().change_feed.polls) == (3, 1)

    async def test_who_began_early_and_commits_late_is_not_missed(
        self, polling: Database, elsewhere: Database, stored: Stored
    ) -> None:
        await polling.api_keys.get_by_hash("hash")
        async with elsewhere.transaction() as early:
            await early.api_keys.set_enabled(stored.key.id, False)
            async with Database(elsewhere.config) as third:
                await third.api_keys.set_enabled(stored.quiet.id, False)
            await until(lambda: holds(enabled(polling, "quiet"), False))
            await all_is_seen(polling)
            assert await enabled(polling, "hash")
        await until(lambda: holds(enabled(polling, "hash"), False))

    async def test_who_is_told_nothing_reads_it_and_listens_again(
        self, make_database: MakeDatabase, elsewhere: Database
    ) -> None:
        db = await make_database(change_poll_interval="20ms")
        key, _ = await elsewhere.api_keys.issue("a")
        await db.api_keys.get_by_hash(key.key_hash)
        await until(lambda: db.stats().change_feed.messages == 1)
        connection = db._engine.watch._connection  # type: ignore[attr-defined]
        await _when_idle(connection, "UNLISTEN *")
        await elsewhere.api_keys.set_enabled(key.id, False)
        await until(lambda: holds(enabled(db, key.key_hash), False))
        await until(lambda: db.stats().change_feed.listener == "polling")
        assert db.stats().change_feed.messages == 1
        await all_is_seen(db)
        await elsewhere.api_keys.set_enabled(key.id, True)
        await until(lambda: db.stats().change_feed.messages == 2)
        assert db.stats().change_feed.listener == "listening"

    async def test_a_message_that_nobody_understands_empties_the_caches(
        self, db: Database, stored: Stored, sql: Callable[[str], None]
    ) -> None:
        await asyncio.to_thread(sql, "NOTIFY gatewaydb_changes, 'what?'")
        await until(lambda: db.stats().change_feed.clears == 1)
        assert db.stats().api_key_cache.size == db.stats().model_cache.size == 0

    async def test_truncating_counts(self, db: Database, stored: Stored, sql: Callable[[str], None]) -> None:
        await asyncio.to_thread(sql, "TRUNCATE models, api_keys CASCADE")
        await until(lambda: holds(read(db, "hash"), None))
        await until(lambda: holds(read_model(db, "alias"), None))

    async def test_a_message_in_pieces_is_whole(self, db: Database, stored: Stored, sql: Callable[[str], None]) -> None:
        await asyncio.to_thread(
            sql,
            "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; UPDATE api_keys SET enabled = FALSE WHERE name = 'quiet';"
            "UPDATE api_keys SET enabled = FALSE WHERE name = 'key'; COMMIT",
        )
        for key_hash in ("quiet", "hash"):
            await until(lambda h=key_hash: holds(enabled(db, h), False))  # type: ignore[misc]

    async def test_names_too_long_for_a_message_are_all(self, db: Database, elsewhere: Database) -> None:
        names = [f"{number}{'ü' * 200}" for number in range(45)]
        assert [await read_model(db, name) for name in names[:3]] == [None] * 3
        await elsewhere.models.create_many([Model(name=name) for name in names])
        await until(lambda: db.stats().change_feed.changes > 0)
        assert [await read_model(db, name) is None for name in names] == [False] * 45

    async def test_changes_are_kept_for_an_hour(
        self, make_database: MakeDatabase, clock: ManualClock, elsewhere: Database, stored: Stored
    ) -> None:
        db = await make_database(clock=clock)
        assert await _changes(elsewhere) > 0
        for seconds in (3599, 1):
            assert await _changes(elsewhere) > 0
            clock.advance(seconds)
            await when_looked(db)
        await until(lambda: holds(_changes(elsewhere), 0))

    async def test_who_looked_too_long_ago_forgets_everything(
        self, make_database: MakeDatabase, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, elsewhere: Database
    ) -> None:
        db = await make_database(clock=clock)
        key, _ = await elsewhere.api_keys.issue("a")
        await db.api_keys.get_by_hash(key.key_hash)
        monkeypatch.setattr(postgres_changes, "_REACH", postgres_changes._REACH * 0)
        clock.advance(1)
        await until(lambda: db.stats().change_feed.clears == 1)
        assert db.stats().api_key_cache.size == 0

    async def test_a_connection_that_was_ended_is_made_again_and_nothing_is_missed(
        self, make_database: MakeDatabase, clock: ManualClock, elsewhere: Database, sql: Callable[[str], None]
    ) -> None:
        db = await make_database(clock=clock)  # which tries again when the clock says so
        key, _ = await elsewhere.api_keys.issue("a")
        quiet, _ = await elsewhere.api_keys.issue("b")
        await until(lambda: db.stats().change_feed.messages == 2)
        for each in (key, quiet):
            await db.api_keys.get_by_hash(each.key_hash)
        kept = await db.api_keys.get_by_hash(quiet.key_hash)
        pid = db._engine.watch._connection.get_server_pid()  # type: ignore[attr-defined]
        await asyncio.to_thread(sql, f"SELECT pg_terminate_backend({pid}, 10000)")
        await until(lambda: db.stats().change_feed.listener == "reconnecting")
        await elsewhere.api_keys.set_enabled(key.id, False)
        assert await enabled(db, key.key_hash)
        clock.advance(1)
        await until(lambda: db.stats().change_feed.listener == "listening")
        assert not await enabled(db, key.key_hash)
        assert await db.api_keys.get_by_hash(quiet.key_hash) is kept
        assert db.stats().change_feed.reconnects == 1
        await elsewhere.api_keys.set_enabled(key.id, True)
        await until(lambda: holds(enabled(db, key.key_hash), True))


async def _changes(db: Database) -> int:
    async with db.transaction() as tx:
        return int((await tx.fetch("SELECT count(*) AS n FROM cache_changes"))[0]["n"])


async def _when_idle(connection: "asyncpg.Connection[asyncpg.Record]", sql: str) -> None:
    async def is_done() -> bool:
        with suppress(asyncpg.InterfaceError):  # it is being asked for the log
            await connection.execute(sql)
            return True
        return False

    await until(is_done)
