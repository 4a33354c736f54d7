"""What one process changes is seen by another, and so is what somebody changes with SQL.

Two `Database` objects share nothing but the database; a few tests use processes for real.
"""

import asyncio
import dataclasses
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from msgspec.structs import replace

from gatewaydb import (
    APIKey,
    APIKeyDisabledError,
    APIKeyNotFoundError,
    Database,
    DatabaseConfig,
    Model,
    ModelAlias,
    ModelNotFoundError,
    UsageRecord,
)
from gatewaydb.database import DatabaseTransaction
from gatewaydb.engines import postgres_changes
from tests.clock import ManualClock, until
from tests.conftest import MakeDatabase
from tests.postgres_server import RunningPostgres

PRICES = {"input_cost_per_token": "0.00003"}


@pytest.fixture
def config(config: DatabaseConfig) -> DatabaseConfig:
    """Nobody waits a second for the next reading of PostgreSQL's log."""
    return dataclasses.replace(config, change_poll_interval=timedelta(milliseconds=20))


@pytest.fixture
async def elsewhere(make_database: MakeDatabase) -> Database:
    """Another process."""
    return await make_database()


@pytest.fixture
def sql(request: pytest.FixtureRequest, config: DatabaseConfig) -> Callable[[str], None]:
    """Runs SQL as an operator would: with psql, or in SQLite's shell."""
    assert config.url is not None
    url = config.url

    def run(statement: str) -> None:
        if config.is_sqlite:
            connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            connection.executescript(statement)
            connection.close()
        else:
            postgres: RunningPostgres = request.getfixturevalue("postgres")
            postgres.psql(statement, urlsplit(url).path[1:])

    return run


class Stored(NamedTuple):
    """What is in the database, and in the caches of `db`."""

    key: APIKey
    model: Model
    other: Model
    alias: ModelAlias
    quiet: APIKey


@pytest.fixture
async def stored(db: Database, elsewhere: Database) -> Stored:
    """Made elsewhere; one key of it is never changed."""
    key = await elsewhere.api_keys.create(APIKey(name="key", key_hash="hash", metadata={"owner": {"team": "a"}}))
    quiet = await elsewhere.api_keys.create(APIKey(name="quiet", key_hash="quiet"))
    model = await elsewhere.models.create(Model(name="model", prices=PRICES))
    other = await elsewhere.models.create(Model(name="other"))
    alias = await elsewhere.model_aliases.create(ModelAlias(alias="alias", model_id=model.id))
    await all_is_seen(db)
    for key_hash in ("hash", "quiet"):
        await db.api_keys.get_by_hash(key_hash)
    for name in ("model", "other", "alias"):
        await db.models.get_by_name(name)
    return Stored(key, model, other, alias, quiet)


async def all_is_seen(db: Database) -> None:
    """Returns when the log was read after now; with LISTEN, messages have come by then."""
    for _ in range(2):
        await _when_looked(db)


async def read(db: Database, key_hash: str) -> APIKey | None:
    try:
        return await db.api_keys.get_by_hash(key_hash)
    except APIKeyNotFoundError:
        return None


async def read_model(db: Database, name: str) -> Model | None:
    try:
        return await db.models.get_by_name(name)
    except ModelNotFoundError:
        return None


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Returns once the check holds."""
    async with asyncio.timeout(20):
        while not await check():  # noqa: ASYNC110 - what is waited for sends no event
            await asyncio.sleep(0.002)


KeyChange = Callable[[Database, Stored], Awaitable[Any]]
KEY_CHANGES: dict[str, KeyChange] = {
    "set_enabled": lambda db, it: db.api_keys.set_enabled(it.key.id, False),
    "update": lambda db, it: db.api_keys.update(replace(it.key, rate_limit_per_minute=7)),
    "another hash": lambda db, it: db.api_keys.update(replace(it.key, key_hash="new hash")),
    "delete": lambda db, it: db.api_keys.delete(it.key.id),
    "set_metadata": lambda db, it: db.api_keys.set_metadata(it.key.id, "owner", "team", "b"),
    "delete_metadata": lambda db, it: db.api_keys.delete_metadata(it.key.id, "owner", "team"),
}


@pytest.mark.parametrize("change", KEY_CHANGES)
async def test_a_change_of_a_key_is_seen_elsewhere(
    db: Database, elsewhere: Database, stored: Stored, change: str
) -> None:
    quiet = await db.api_keys.get_by_hash("quiet")
    await KEY_CHANGES[change](elsewhere, stored)
    expected = await read(elsewhere, "hash")
    await eventually(lambda: _is(read(db, "hash"), expected))
    assert await db.api_keys.get_by_hash("quiet") is quiet  # nothing else was thrown away
    assert db.stats().change_feed.clears == 0


async def _is(reading: Awaitable[Any], expected: Any) -> bool:
    return bool(await reading == expected)


MODEL_CHANGES: dict[str, KeyChange] = {
    "update": lambda db, it: db.models.update(replace(it.model, max_tokens=7)),
    "rename": lambda db, it: db.models.update(replace(it.model, name="renamed")),
    "prices": lambda db, it: db.models.set_prices(it.model.id, {"input_cost_per_token": "0.5"}),
    "delete": lambda db, it: db.models.delete(it.model.id),
    "another alias": lambda db, it: db.model_aliases.create(ModelAlias(alias="second", model_id=it.model.id)),
    "alias re-targeted": lambda db, it: db.model_aliases.update(replace(it.alias, model_id=it.other.id)),
    "alias renamed": lambda db, it: db.model_aliases.update(replace(it.alias, alias="nickname")),
    "alias disabled": lambda db, it: db.model_aliases.update(replace(it.alias, enabled=False)),
    "alias deleted": lambda db, it: db.model_aliases.delete(it.alias.id),
    "a model takes the alias's name": lambda db, it: db.models.create(Model(name="alias")),
}


@pytest.mark.parametrize("change", MODEL_CHANGES)
async def test_a_change_of_a_model_is_seen_elsewhere_under_every_name(
    db: Database, elsewhere: Database, stored: Stored, change: str
) -> None:
    await MODEL_CHANGES[change](elsewhere, stored)
    for name in ("model", "other", "alias", "second", "nickname", "renamed"):
        expected = await read_model(elsewhere, name)
        await eventually(lambda name=name, expected=expected: _is(read_model(db, name), expected))  # type: ignore[misc]


SQL = {
    "a key switched off": "UPDATE api_keys SET enabled = FALSE WHERE name = 'key'",
    "another hash": "UPDATE api_keys SET key_hash = 'new hash' WHERE name = 'key'",
    "a key deleted": "DELETE FROM api_keys WHERE name = 'key'",
    "metadata changed": "UPDATE api_key_metadata SET value = 'b'",
    "metadata moved": "UPDATE api_key_metadata SET api_key_id = (SELECT id FROM api_keys WHERE name = 'quiet')",
    "metadata deleted": "DELETE FROM api_key_metadata",
    "metadata added": "INSERT INTO api_key_metadata SELECT id, 'owner', 'mail', 'x' FROM api_keys",
    "a model changed": "UPDATE models SET max_tokens = 7 WHERE name = 'model'",
    "a model renamed": "UPDATE models SET name = 'renamed' WHERE name = 'model'",
    "a price changed": "UPDATE price_components SET price = '1', literal = '1'",
    "a price moved": "UPDATE price_components SET model_id = (SELECT id FROM models WHERE name = 'other')",
    "a price deleted": "DELETE FROM price_components",
    "an alias switched off": "UPDATE model_aliases SET enabled = FALSE",
    "an alias re-targeted": "UPDATE model_aliases SET model_id = (SELECT id FROM models WHERE name = 'other')",
    "an alias deleted": "DELETE FROM model_aliases",
    "everything at once": "BEGIN; DELETE FROM models; DELETE FROM api_keys; COMMIT",
}


@pytest.mark.parametrize("change", SQL)
async def test_what_sql_changes_is_seen(
    db: Database, elsewhere: Database, stored: Stored, sql: Callable[[str], None], change: str
) -> None:
    await asyncio.to_thread(sql, f"PRAGMA foreign_keys = ON; {SQL[change]}" if db.config.is_sqlite else SQL[change])
    async with elsewhere.transaction() as tx:  # which reads the database itself
        keys = {key_hash: await read(tx, key_hash) for key_hash in ("hash", "quiet")}  # type: ignore[arg-type]
        models = {name: await read_model(tx, name) for name in ("model", "other", "alias")}  # type: ignore[arg-type]
    for key_hash, key in keys.items():
        await eventually(lambda key_hash=key_hash, key=key: _is(read(db, key_hash), key))  # type: ignore[misc]
    for name, model in models.items():
        await eventually(lambda name=name, model=model: _is(read_model(db, name), model))  # type: ignore[misc]
    assert db.stats().change_feed.clears == 0


async def test_what_was_not_found_is_found_once_it_is_made_elsewhere(db: Database, elsewhere: Database) -> None:
    for _ in range(3):
        assert await read(db, "new") is None
        assert await read_model(db, "new") is None
        assert await read_model(db, "new alias") is None
    await elsewhere.api_keys.create(APIKey(name="new", key_hash="new"))
    model = await elsewhere.models.create(Model(name="new"))
    await elsewhere.model_aliases.create(ModelAlias(alias="new alias", model_id=model.id))

    async def all_are_found() -> bool:
        found = (await read(db, "new"), await read_model(db, "new"), await read_model(db, "new alias"))
        return None not in found

    await eventually(all_are_found)


async def test_a_transaction_is_seen_when_it_has_committed_and_not_if_it_has_not(
    db: Database, elsewhere: Database, stored: Stored
) -> None:
    before = await db.api_keys.get_by_hash("hash")
    quiet = await db.api_keys.get_by_hash("quiet")
    async with elsewhere.transaction() as tx:
        await tx.api_keys.set_enabled(stored.key.id, False)
        await _undone(tx, lambda inner: inner.api_keys.set_enabled(stored.quiet.id, False))
        await all_is_seen(db)
        assert await db.api_keys.get_by_hash("hash") is before
    await eventually(lambda: _is(_enabled(db, "hash"), False))
    await _undone(elsewhere, lambda tx: tx.api_keys.delete(stored.quiet.id))
    await all_is_seen(db)
    assert await db.api_keys.get_by_hash("quiet") is quiet


async def _undone(db: Database | DatabaseTransaction, write: Callable[[DatabaseTransaction], Awaitable[Any]]) -> None:
    """A write in a transaction, or under a savepoint of one, that fails in the end."""
    with suppress(ZeroDivisionError):
        async with db.transaction() as tx:
            await write(tx)
            raise ZeroDivisionError


async def _enabled(db: Database, key_hash: str) -> bool:
    return (await db.api_keys.get_by_hash(key_hash)).enabled


TEN_THOUSAND_KEYS = {
    True: """
        WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9999)
        INSERT INTO api_keys (id, name, key_hash, created_at, updated_at)
        SELECT printf('00000000-0000-4000-8000-%012d', n), 'many', 'many ' || n, datetime(), datetime() FROM numbers
    """,
    False: """
        INSERT INTO api_keys (id, name, key_hash, created_at, updated_at)
        SELECT gen_random_uuid(), 'many', 'many ' || n, now(), now() FROM generate_series(0, 9999) AS n
    """,
}
"""By whether it is SQLite."""


async def test_ten_thousand_keys_are_switched_off_in_one_message(
    db: Database, elsewhere: Database, stored: Stored
) -> None:
    model = await db.models.get_by_name("model")
    async with elsewhere.transaction() as tx:
        await tx.execute(TEN_THOUSAND_KEYS[is_sqlite := db.config.is_sqlite])
    await eventually(lambda: _exists(db, "many 9999"))
    await all_is_seen(db)
    for number in (0, 5000, 9999):
        assert (await db.api_keys.get_by_hash(f"many {number}")).enabled
    before = db.stats().change_feed
    async with elsewhere.transaction() as tx:
        await tx.execute("UPDATE api_keys SET enabled = FALSE WHERE name = 'many'")
    for number in (0, 5000, 9999):
        await eventually(lambda number=number: _is(_enabled(db, f"many {number}"), False))  # type: ignore[misc]
    after = db.stats().change_feed
    assert after.messages - before.messages == (0 if is_sqlite else 1)
    assert (after.changes - before.changes, after.clears) == (1, 0)
    assert await db.models.get_by_name("model") is model


async def _exists(db: Database, key_hash: str) -> bool:
    return await read(db, key_hash) is not None


async def test_many_small_changes_are_all_seen(db: Database, elsewhere: Database) -> None:
    keys = [await elsewhere.api_keys.create(APIKey(name="k", key_hash=f"{n}")) for n in range(200)]
    await all_is_seen(db)
    for key in keys:
        await db.api_keys.get_by_hash(key.key_hash)
    async with elsewhere.transaction() as tx:
        for key in keys:
            await tx.api_keys.set_enabled(key.id, False)
    for key in keys:
        await eventually(lambda key=key: _is(_enabled(db, key.key_hash), False))  # type: ignore[misc]


async def test_usage_tells_nobody(db: Database, elsewhere: Database, stored: Stored) -> None:
    before = db.stats().change_feed
    await elsewhere.usage.create_many([UsageRecord(api_key_id=stored.key.id, model_id=stored.model.id)] * 2)
    await elsewhere.usage.create(UsageRecord(api_key_id=stored.key.id))
    await all_is_seen(db)
    after = db.stats().change_feed
    assert (after.messages, after.changes, after.clears) == (before.messages, before.changes, before.clears)


async def test_one_s_own_changes_do_not_come_back(db: Database, stored: Stored) -> None:
    await db.api_keys.set_enabled(stored.key.id, False)
    await db.api_keys.set_metadata(stored.key.id, "a", "b", "c")
    await db.models.update(replace(stored.model, max_tokens=7))
    key, model = await db.api_keys.get_by_hash("hash"), await db.models.get_by_name("alias")
    await all_is_seen(db)
    assert await db.api_keys.get_by_hash("hash") is key
    assert await db.models.get_by_name("alias") is model


@pytest.mark.parametrize("is_first_undone", [False, True])
async def test_what_one_s_own_sql_changes_in_a_transaction_is_seen_here(
    db: Database, stored: Stored, is_first_undone: bool
) -> None:
    async with db.transaction() as tx:
        await tx.models.delete(stored.other.id)
        if is_first_undone:
            await _undone(tx, lambda inner: inner.execute("UPDATE api_keys SET name = 'undone'"))
        await tx.execute("UPDATE api_keys SET enabled = FALSE WHERE key_hash = $1", "hash")
        await tx.api_keys.set_metadata(stored.quiet.id, "a", "b", "c")
    await eventually(lambda: _is(_enabled(db, "hash"), False))


READ_UNTIL_REFUSED = """
import asyncio, sys
from gatewaydb import APIKeyDisabledError, Database

async def main() -> None:
    async with Database(sys.argv[1]) as db:
        await db.api_keys.authenticate(sys.argv[2])
        print("works", flush=True)
        while True:
            try:
                await db.api_keys.authenticate(sys.argv[2])
            except APIKeyDisabledError:
                print("refused", flush=True)
                return
            await asyncio.sleep(0.001)

asyncio.run(main())
"""


async def test_real_processes_refuse_a_key_that_is_switched_off_in_this_one(db: Database) -> None:
    key, secret = await db.api_keys.issue("key")
    command = [sys.executable, "-c", READ_UNTIL_REFUSED, str(db.config.url), secret]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"works\n"
    await db.api_keys.set_enabled(key.id, False)
    for process in processes:
        output, errors = await asyncio.wait_for(process.communicate(), 20)
        assert (output, errors) == (b"refused\n", b"")


async def test_the_statistics_say_how_changes_are_seen(config: DatabaseConfig) -> None:
    db = Database(config)
    assert db.stats().change_feed.listener == "closed"
    async with db:
        feed = db.stats().change_feed
        assert feed.listener == ("polling" if config.is_sqlite else "listening")
        assert (feed.lag, feed.messages, feed.changes, feed.clears, feed.reconnects) == (None, 0, 0, 0, 0)
        assert feed.behind is not None
        async with Database(config) as elsewhere:
            await elsewhere.api_keys.issue("a")
        await until(lambda: db.stats().change_feed.changes == 1)
        lag = db.stats().change_feed.lag
        assert lag is not None
        assert lag.total_seconds() < 20
    assert db.stats().change_feed.listener == "closed"


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
        await eventually(lambda: _is(read(db, "hash"), None))
        sql("REPLACE INTO model_aliases SELECT id, 'nickname', model_id, 1, '', '' FROM model_aliases")
        await eventually(lambda: _is(read_model(db, "alias"), None))


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
        await eventually(lambda: _is(_enabled(db, key.key_hash), False))
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
        await eventually(lambda: _is(_enabled(db, key.key_hash), False))
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
            await eventually(lambda: _is(_enabled(polling, "quiet"), False))
            await all_is_seen(polling)
            assert await _enabled(polling, "hash")
        await eventually(lambda: _is(_enabled(polling, "hash"), False))

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
        await eventually(lambda: _is(_enabled(db, key.key_hash), False))
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
        await eventually(lambda: _is(read(db, "hash"), None))
        await eventually(lambda: _is(read_model(db, "alias"), None))

    async def test_a_message_in_pieces_is_whole(self, db: Database, stored: Stored, sql: Callable[[str], None]) -> None:
        await asyncio.to_thread(
            sql,
            "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; UPDATE api_keys SET enabled = FALSE WHERE name = 'quiet';"
            "UPDATE api_keys SET enabled = FALSE WHERE name = 'key'; COMMIT",
        )
        for key_hash in ("quiet", "hash"):
            await eventually(lambda h=key_hash: _is(_enabled(db, h), False))  # type: ignore[misc]

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
            await _when_looked(db)
        await eventually(lambda: _is(_changes(elsewhere), 0))

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
        assert await _enabled(db, key.key_hash)
        clock.advance(1)
        await until(lambda: db.stats().change_feed.listener == "listening")
        assert not await _enabled(db, key.key_hash)
        assert await db.api_keys.get_by_hash(quiet.key_hash) is kept
        assert db.stats().change_feed.reconnects == 1
        await elsewhere.api_keys.set_enabled(key.id, True)
        await eventually(lambda: _is(_enabled(db, key.key_hash), True))


async def _changes(db: Database) -> int:
    async with db.transaction() as tx:
        return int((await tx.fetch("SELECT count(*) AS n FROM cache_changes"))[0]["n"])


async def _when_looked(db: Database) -> None:
    polls = db.stats().change_feed.polls
    await until(lambda: db.stats().change_feed.polls > polls)


async def _when_idle(connection: "asyncpg.Connection[asyncpg.Record]", sql: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await connection.execute(sql)
            except asyncpg.InterfaceError:  # it is being asked for the log
                await asyncio.sleep(0.001)
            else:
                return
