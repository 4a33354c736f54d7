"""What one process changes is seen by another, and so is what somebody changes with SQL.

Two `Database` objects share nothing but the database; a few tests use processes for real.
"""

import asyncio
import dataclasses
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from gatewaydb import (
    APIKey,
    Database,
    DatabaseConfig,
    Model,
    ModelAlias,
    UsageRecord,
)
from tests.clock import until
from tests.conformance.coherence import (
    Stored,
    all_is_seen,
    enabled,
    holds,
    read,
    read_model,
    undone,
)


@pytest.fixture
def config(config: DatabaseConfig) -> DatabaseConfig:
    """Nobody waits a second for the next reading of PostgreSQL's log."""
    return dataclasses.replace(config, change_poll_interval=timedelta(milliseconds=20))


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
    await until(lambda: holds(read(db, "hash"), expected))
    assert await db.api_keys.get_by_hash("quiet") is quiet  # nothing else was thrown away
    assert db.stats().change_feed.clears == 0


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
        await until(lambda name=name, expected=expected: holds(read_model(db, name), expected))  # type: ignore[misc]


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
        await until(lambda key_hash=key_hash, key=key: holds(read(db, key_hash), key))  # type: ignore[misc]
    for name, model in models.items():
        await until(lambda name=name, model=model: holds(read_model(db, name), model))  # type: ignore[misc]
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

    await until(all_are_found)


async def test_a_transaction_is_seen_when_it_has_committed_and_not_if_it_has_not(
    db: Database, elsewhere: Database, stored: Stored
) -> None:
    before = await db.api_keys.get_by_hash("hash")
    quiet = await db.api_keys.get_by_hash("quiet")
    async with elsewhere.transaction() as tx:
        await tx.api_keys.set_enabled(stored.key.id, False)
        await undone(tx, lambda inner: inner.api_keys.set_enabled(stored.quiet.id, False))
        await all_is_seen(db)
        assert await db.api_keys.get_by_hash("hash") is before
    await until(lambda: holds(enabled(db, "hash"), False))
    await undone(elsewhere, lambda tx: tx.api_keys.delete(stored.quiet.id))
    await all_is_seen(db)
    assert await db.api_keys.get_by_hash("quiet") is quiet


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
    await until(lambda: _exists(db, "many 9999"))
    await all_is_seen(db)
    for number in (0, 5000, 9999):
        assert (await db.api_keys.get_by_hash(f"many {number}")).enabled
    before = db.stats().change_feed
    async with elsewhere.transaction() as tx:
        await tx.execute("UPDATE api_keys SET enabled = FALSE WHERE name = 'many'")
    for number in (0, 5000, 9999):
        await until(lambda number=number: holds(enabled(db, f"many {number}"), False))  # type: ignore[misc]
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
        await until(lambda key=key: holds(enabled(db, key.key_hash), False))  # type: ignore[misc]


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
            await undone(tx, lambda inner: inner.execute("UPDATE api_keys SET name = 'undone'"))
        await tx.execute("UPDATE api_keys SET enabled = FALSE WHERE key_hash = $1", "hash")
        await tx.api_keys.set_metadata(stored.quiet.id, "a", "b", "c")
    await until(lambda: holds(enabled(db, "hash"), False))


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
