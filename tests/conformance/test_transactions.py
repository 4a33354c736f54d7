# ruff: noqa: PT012 - what has to raise is a transaction, with its block
import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import (
    AlreadyExistsError,
    APIKey,
    APIKeyNotFoundError,
    Database,
    GatewayDBError,
    Model,
    ModelAlias,
    ModelNotFoundError,
    Provider,
    UsageRecord,
)
from gatewaydb.database import DatabaseTransaction
from tests.conftest import MakeDatabase

START = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = ["api_keys", "api_key_metadata", "models", "price_components", "model_aliases", "model_alias_tags"]
TABLES += ["providers", "usage_records", "monthly_usage_summaries"]


class WhateverError(Exception):
    """What a caller's own code raises."""


async def _fill(tx: DatabaseTransaction) -> None:
    """One write of every repository."""
    key, _ = await tx.api_keys.issue("new", metadata={"tag": {"a": "b"}})
    provider = await tx.providers.create(Provider(name="p", credentials={"a": "b"}))
    prices = {"input_cost_per_token": "0.1"}
    model = await tx.models.create(Model(name="m", provider_id=provider.id, prices=prices))
    await tx.model_aliases.create(ModelAlias(alias="a", model_id=model.id, tags={"a": "b"}))
    await tx.usage.create(UsageRecord(api_key_id=key.id, request_timestamp=START, cost_usd=Decimal(1)))
    await tx.monthly_summaries.refresh_summary(key.id, 2026, 1)


async def _counts(db: Database) -> set[int]:
    async with db.transaction() as tx:
        return {(await tx.fetch(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in TABLES}


async def test_a_transaction_spans_all_repositories(db: Database) -> None:
    async with db.transaction() as tx:
        await _fill(tx)
    assert await _counts(db) == {1}


async def test_a_rollback_leaves_no_trace(db: Database) -> None:
    with pytest.raises(WhateverError):
        async with db.transaction() as tx:
            await _fill(tx)
            raise WhateverError
    assert await _counts(db) == {0}
    assert db.stats().api_key_cache.size == db.stats().model_cache.size == 0


async def test_a_database_error_rolls_back_and_the_database_goes_on(db: Database, api_key: APIKey) -> None:
    with pytest.raises(AlreadyExistsError):
        async with db.transaction() as tx:
            await tx.api_keys.issue("new")
            await tx.api_keys.create(api_key)
    assert await db.api_keys.list() == [api_key]
    await db.api_keys.issue("after")


async def test_others_see_a_transaction_only_once_it_has_committed(make_database: MakeDatabase) -> None:
    writer, reader = await make_database(), await make_database(absent_ttl="0s")
    async with writer.transaction() as tx:
        key, _ = await tx.api_keys.issue("new")
        assert await tx.api_keys.get_by_hash(key.key_hash) == key
        with pytest.raises(APIKeyNotFoundError):
            await reader.api_keys.get_by_hash(key.key_hash)
    assert await reader.api_keys.get_by_hash(key.key_hash) == key


async def test_the_cache_is_told_after_the_commit_and_only_then(db: Database, api_key: APIKey, model: Model) -> None:
    await db.api_keys.get_by_hash(api_key.key_hash)
    await db.models.get_by_name("gpt-4")
    async with db.transaction() as tx:
        await tx.api_keys.set_enabled(api_key.id, False)
        await tx.models.delete(model.id)
        assert not (await tx.api_keys.get_by_hash(api_key.key_hash)).enabled
        with pytest.raises(ModelNotFoundError):
            await tx.models.get_by_name("gpt-4")
        assert (await db.api_keys.get_by_hash(api_key.key_hash)).enabled
        assert await db.models.get_by_name("gpt-4") == model
    assert not (await db.api_keys.get_by_hash(api_key.key_hash)).enabled
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_name("gpt-4")


async def test_after_a_rollback_the_cache_still_holds_what_it_held(
    db: Database, api_key: APIKey, statements: list[str]
) -> None:
    cached = await db.api_keys.get_by_hash(api_key.key_hash)
    with pytest.raises(WhateverError):
        async with db.transaction() as tx:
            await tx.api_keys.set_enabled(api_key.id, False)
            raise WhateverError
    statements.clear()
    assert await db.api_keys.get_by_hash(api_key.key_hash) is cached
    assert statements == []


async def test_what_a_transaction_read_is_not_in_the_cache(db: Database, api_key: APIKey) -> None:
    with pytest.raises(WhateverError):
        async with db.transaction() as tx:
            await tx.api_keys.set_enabled(api_key.id, False)
            await tx.api_keys.get_by_hash(api_key.key_hash)
            raise WhateverError
    assert (await db.api_keys.get_by_hash(api_key.key_hash)).enabled


Nested = Callable[[Database, DatabaseTransaction], AbstractAsyncContextManager[DatabaseTransaction]]
NESTINGS: dict[str, Nested] = {"tx": lambda db, tx: tx.transaction(), "db": lambda db, tx: db.transaction()}


@pytest.mark.parametrize("nesting", NESTINGS.values(), ids=NESTINGS)
async def test_a_savepoint_is_undone_alone(db: Database, api_key: APIKey, nesting: Nested) -> None:
    await db.api_keys.get_by_hash(api_key.key_hash)
    async with db.transaction() as tx:
        kept, _ = await tx.api_keys.issue("kept")
        with pytest.raises(WhateverError):
            async with nesting(db, tx) as inner:
                await inner.api_keys.delete(api_key.id)
                await inner.api_keys.issue("undone")
                raise WhateverError
        also, _ = await tx.api_keys.issue("also kept")
    assert await db.api_keys.list() == [api_key, kept, also]
    assert await db.api_keys.get_by_hash(api_key.key_hash) == api_key


@pytest.mark.parametrize("nesting", NESTINGS.values(), ids=NESTINGS)
async def test_a_savepoint_ends_with_the_transaction_around_it(db: Database, api_key: APIKey, nesting: Nested) -> None:
    await db.api_keys.get_by_hash(api_key.key_hash)
    with pytest.raises(WhateverError):
        async with db.transaction() as tx:
            async with nesting(db, tx) as inner:
                await inner.api_keys.delete(api_key.id)
            raise WhateverError
    assert await db.api_keys.get_by_hash(api_key.key_hash) == api_key
    async with db.transaction() as tx, nesting(db, tx) as inner:
        await inner.api_keys.delete(api_key.id)
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_hash(api_key.key_hash)


async def test_savepoints_nest_as_deep_as_one_likes(db: Database) -> None:
    async with db.transaction() as tx:
        for name in ("a", "b"):
            async with tx.transaction() as one:
                await one.providers.create(Provider(name=name))
                with pytest.raises(WhateverError):
                    async with one.transaction() as two:
                        await two.providers.create(Provider(name=f"{name}{name}"))
                        async with two.transaction() as three:
                            await three.providers.create(Provider(name=f"{name}{name}{name}"))
                        raise WhateverError
    assert [provider.name for provider in await db.providers.list()] == ["a", "b"]


async def test_a_database_error_in_a_savepoint_leaves_the_transaction_usable(db: Database, api_key: APIKey) -> None:
    async with db.transaction() as tx:
        with pytest.raises(AlreadyExistsError):
            async with tx.transaction():
                await tx.api_keys.create(api_key)
        with pytest.raises(AlreadyExistsError):
            await tx.api_keys.create(replace(api_key, name="x"))
        await tx.api_keys.issue("new")
    assert len(await db.api_keys.list()) == 2


async def test_sql_of_one_s_own(db: Database, api_key: APIKey) -> None:
    async with db.transaction() as tx:
        found = await tx.fetch("SELECT name, $2 AS again FROM api_keys WHERE name = $1", "caller", "x")
        assert found == [{"name": "caller", "again": "x"}]
        assert await tx.execute("UPDATE api_keys SET name = $1 WHERE name = $2", "renamed", "caller") == 1
        assert await tx.execute("UPDATE api_keys SET name = $1 WHERE name = $2", "renamed", "caller") == 0
        assert await tx.fetch("SELECT 1 AS one WHERE 1 = 0") == []
        await tx.execute("CREATE TEMPORARY TABLE mine (n integer)")
        assert await tx.execute("INSERT INTO mine VALUES (1), (2)") == 2
    assert (await db.api_keys.get_by_id(api_key.id)).name == "renamed"


@pytest.mark.parametrize("sql", ["SELEKT 1", "SELECT * FROM nowhere", "INSERT INTO api_keys (id) VALUES ('x')"])
async def test_wrong_sql_is_our_own_error_and_rolls_back(db: Database, sql: str) -> None:
    with pytest.raises(GatewayDBError):
        async with db.transaction() as tx:
            await tx.api_keys.issue("new")
            await tx.execute(sql)
    assert await db.api_keys.list() == []


@pytest.mark.parametrize("arguments", [(), ("a", "b"), (object(),)], ids=["too few", "too many", "of no kind"])
async def test_wrong_arguments_are_our_own_error(db: Database, arguments: tuple[object, ...]) -> None:
    with pytest.raises(GatewayDBError):
        async with db.transaction() as tx:
            await tx.fetch("SELECT name FROM api_keys WHERE name = $1", *arguments)
    await db.health()


async def test_a_write_through_db_inside_a_transaction_is_a_clear_error(db: Database, api_key: APIKey) -> None:
    async with asyncio.timeout(4):
        async with db.transaction():
            with pytest.raises(GatewayDBError, match="through tx, not through db"):
                await db.api_keys.delete(api_key.id)
            with pytest.raises(GatewayDBError, match="through tx, not through db"):
                await db.usage.create(UsageRecord(api_key_id=api_key.id))
            assert await db.api_keys.get_by_id(api_key.id) == api_key
    await db.api_keys.delete(api_key.id)


async def test_transactions_of_other_tasks_are_their_own(db: Database) -> None:
    async def work(number: int) -> None:
        async with db.transaction() as tx:
            await tx.providers.create(Provider(name=f"{number:02}"))
            await asyncio.sleep(0)
            if number % 2:
                raise WhateverError

    results = await asyncio.gather(*map(work, range(20)), return_exceptions=True)
    assert sum(isinstance(result, WhateverError) for result in results) == 10
    assert [int(provider.name) for provider in await db.providers.list()] == list(range(0, 20, 2))


async def test_tasks_may_share_a_transaction(db: Database) -> None:
    async with db.transaction() as tx:
        await asyncio.gather(*(tx.providers.create(Provider(name=f"{number}")) for number in range(20)))
    assert len(await db.providers.list()) == 20


async def test_cancelling_inside_a_transaction_rolls_back(db: Database, api_key: APIKey) -> None:
    inside, never = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with db.transaction() as tx:
            await tx.api_keys.delete(api_key.id)
            inside.set()
            await never.wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await db.api_keys.get_by_id(api_key.id) == api_key
    await db.api_keys.delete(api_key.id)
    assert db.stats().in_use == 0


async def test_a_finished_transaction_is_of_no_use(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.providers.create(Provider(name="a"))
    for use in (lambda: tx.providers.create(Provider(name="b")), lambda: tx.fetch("SELECT 1")):
        with pytest.raises(GatewayDBError, match="has ended"):
            await use()
    with pytest.raises(WhateverError):
        async with db.transaction():
            with pytest.raises(GatewayDBError, match="has ended"):
                await tx.api_keys.issue("in somebody else's transaction")
            raise WhateverError
    assert [provider.name for provider in await db.providers.list()] == ["a"]


class TestTheSessionOnPostgreSQL:
    """What `tx.execute` did to a connection is undone before somebody else has it."""

    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        return postgres_url

    @pytest.fixture
    async def db(self, make_database: MakeDatabase) -> Database:
        return await make_database(max_open_conns=1)

    @pytest.mark.parametrize("fails", [False, True], ids=["committed", "rolled back"])
    async def test_settings_and_temporary_tables_do_not_leak(self, db: Database, fails: bool) -> None:
        session = "SELECT pg_backend_pid() AS pid, current_user::text, current_setting('search_path') AS path"
        async with db.transaction() as tx:
            before = await tx.fetch(session)
        try:
            async with db.transaction() as tx:
                await tx.execute("SET search_path = pg_catalog")
                await tx.execute("CREATE TEMPORARY TABLE mine (n integer)")
                await tx.execute("SET ROLE pg_monitor")
                await tx.fetch("SELECT pg_advisory_lock(7)")
                if fails:
                    raise WhateverError
        except WhateverError:
            pass
        assert await db.api_keys.list() == []
        async with db.transaction() as tx:
            assert await tx.fetch(session) == before
            assert (await tx.fetch("SELECT to_regclass('pg_temp.mine') AS mine")) == [{"mine": None}]
            assert await tx.fetch("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'") == []

    async def test_a_transaction_mode_holds_for_the_transaction_only(self, db: Database) -> None:
        async with db.transaction() as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY")
            with pytest.raises(GatewayDBError):
                async with tx.transaction():
                    await tx.api_keys.issue("new")
        await db.api_keys.issue("new")
