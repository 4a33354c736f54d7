"""A PostgreSQL that dies, comes back, or hangs: what gatewaydb says and does, on one and the same `Database`."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from gatewaydb import (
    APIKey,
    APIKeyNotFoundError,
    Database,
    DatabaseConfig,
    DatabaseUnavailableError,
    Model,
    ModelNotFoundError,
    QueryTimeoutError,
    UsageRecord,
)
from gatewaydb.entities.base import new_id
from tests.clock import until
from tests.conftest import MakeDatabase
from tests.postgres_server import PostgresServer

GONE = (DatabaseUnavailableError, QueryTimeoutError)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        asyncio.run(Database(server.url()).migrate())
        yield server


@pytest.fixture
def database_url(server: PostgresServer) -> str:
    return server.url()


@pytest.fixture
async def db(make_database: MakeDatabase) -> Database:
    return await make_database(query_timeout="500ms")


@pytest.fixture
async def cached(db: Database) -> tuple[APIKey, str]:
    """A key that the cache holds, and its secret."""
    key, secret = await db.api_keys.issue("cached")
    await db.api_keys.authenticate(secret)
    return key, secret


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


async def _assert_gone(db: Database) -> None:
    """Every kind of call says that the database is gone, and not one that something was not found."""
    ghost = new_id()
    for call in (
        lambda: db.api_keys.get_by_hash(f"{ghost}"),
        lambda: db.api_keys.get_by_id(ghost),
        lambda: db.models.get_by_name(f"{ghost}"),
        db.providers.list,
        lambda: db.usage.create(UsageRecord(api_key_id=ghost)),
        lambda: db.api_keys.issue("in vain"),
    ):
        with pytest.raises(GONE):
            await call()
    with pytest.raises(DatabaseUnavailableError):
        await db.health()


async def _assert_works(db: Database) -> None:
    await db.health()
    key, secret = await db.api_keys.issue("again")
    assert (await db.api_keys.authenticate(secret)).id == key.id
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_id(new_id())
    await asyncio.gather(*(db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(50)))
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_name("ghost")
    assert db.stats().in_use == 0


async def test_a_killed_server_is_unavailable_and_comes_back(
    server: PostgresServer, db: Database, cached: tuple[APIKey, str]
) -> None:
    key, secret = cached
    await asyncio.gather(*(db.api_keys.get_by_id(key.id) for _ in range(10)))
    server.kill()
    try:
        async with _within(30):
            await _assert_gone(db)
        assert await db.api_keys.authenticate(secret) == key
        assert await db.api_keys.get_by_hash(key.key_hash) == key
    finally:
        server.restart()
    await _assert_works(db)
    assert await db.api_keys.get_by_id(key.id) == key


async def test_what_was_acknowledged_before_the_kill_is_there_after_it(server: PostgresServer, db: Database) -> None:
    key_id = new_id()
    done: list[UsageRecord] = []

    async def record() -> None:
        while True:
            done.append(await db.usage.create(UsageRecord(api_key_id=key_id, prompt_tokens=1)))

    writers = [asyncio.create_task(record()) for _ in range(10)]
    await until(lambda: len(done) >= 100)
    server.kill()
    results = await asyncio.gather(*writers, return_exceptions=True)
    server.restart()
    assert all(isinstance(result, GONE) for result in results)
    for acknowledged in done:
        assert await db.usage.get_by_id(acknowledged.id) == acknowledged
    at = done[0].request_timestamp
    summary = await db.monthly_summaries.get_by_api_key_and_month(key_id, at.year, at.month)
    assert len(done) <= summary.total_requests <= len(done) + 10


async def test_a_transaction_that_the_kill_cut_off_left_no_trace(server: PostgresServer, db: Database) -> None:
    model = Model(name=f"{new_id()}")

    async def cut_off() -> None:
        async with db.transaction() as tx:
            await tx.models.create(model)
            server.kill()
            await tx.models.get_by_id(model.id)

    with pytest.raises(DatabaseUnavailableError):
        await cut_off()
    server.restart()
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_id(model.id)


async def test_a_server_that_hangs_is_a_timeout_in_time(
    server: PostgresServer, db: Database, cached: tuple[APIKey, str]
) -> None:
    key, secret = cached
    server.pause()
    try:
        async with _within(10):
            with pytest.raises(QueryTimeoutError):
                await db.api_keys.get_by_id(key.id)
        async with _within(15):
            results = await asyncio.gather(
                *(db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(60)), return_exceptions=True
            )
        assert all(isinstance(result, GONE) for result in results)
        assert await db.api_keys.authenticate(secret) == key
        async with _within(10):
            with pytest.raises(DatabaseUnavailableError):
                await db.health()
    finally:
        server.resume()
    await _assert_works(db)


async def test_a_database_closes_though_its_server_hangs(server: PostgresServer, database_url: str) -> None:
    db = Database(DatabaseConfig(url=f"{database_url}?query_timeout=500ms"))
    await db.open()
    server.pause()
    try:
        with pytest.raises(GONE):
            await db.api_keys.list()
        async with _within(20):
            await db.close()
    finally:
        server.resume()


async def test_connections_that_the_server_ended_are_replaced(
    server: PostgresServer, make_database: MakeDatabase
) -> None:
    db = await make_database()
    await asyncio.gather(*(db.api_keys.list() for _ in range(10)))
    sql = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    server.psql(f"{sql} AND backend_type = 'client backend'")
    results = await asyncio.gather(*(db.api_keys.list() for _ in range(10)), return_exceptions=True)
    assert all(isinstance(each, DatabaseUnavailableError) for each in results if isinstance(each, BaseException))
    await _assert_works(db)


async def test_the_unix_socket_serves_too(server: PostgresServer) -> None:
    async with Database(server.socket_url()) as db:
        await db.health()


@pytest.mark.parametrize(
    "wrong", ["postgresql://postgres:secret-pw@{}/postgres", "postgresql://nobody:secret-pw@{}/postgres"]
)
async def test_a_wrong_password_is_unavailable_and_not_shown(server: PostgresServer, wrong: str) -> None:
    with pytest.raises(DatabaseUnavailableError, match="authentication") as caught:
        await Database(wrong.format(f"127.0.0.1:{server.port}")).open()
    assert "secret-pw" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_unavailable(server: PostgresServer) -> None:
    with pytest.raises(DatabaseUnavailableError, match="nowhere"):
        await Database(server.url("nowhere")).open()


async def test_a_write_that_could_not_be_sent_empties_no_cache(
    server: PostgresServer, db: Database, cached: tuple[APIKey, str]
) -> None:
    key, secret = cached
    server.kill()
    try:
        with pytest.raises(GONE):
            await db.api_keys.get_by_id(key.id)
        for write in (db.api_keys.set_enabled(new_id(), False), db.api_keys.delete(new_id()), db.api_keys.update(key)):
            with pytest.raises(DatabaseUnavailableError):
                await write
        assert await db.api_keys.authenticate(secret) == key
    finally:
        server.restart()
