"""Nothing waits longer than it may, and what was stopped leaves a connection that works."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from gatewaydb import Database, DatabaseConfig, Provider, QueryTimeoutError
from tests.conftest import ENCRYPTION_KEY, MakeDatabase

ENDLESS = {
    "sqlite": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
    "postgres": "SELECT pg_sleep(600)",
}
RUNNING = "SELECT count(*) AS n FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' "
RUNNING += "AND pid <> pg_backend_pid() AND datname = current_database()"


@pytest.fixture
def config(database_url: str) -> DatabaseConfig:
    return DatabaseConfig(
        url=database_url, query_timeout=timedelta(milliseconds=150), max_open_conns=1, encryption_keys=ENCRYPTION_KEY
    )


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


async def _endless(db: Database, dialect: str) -> None:
    async with db.transaction() as tx:
        await tx.providers.create(Provider(name="in vain"))
        await tx.fetch(ENDLESS[dialect])


async def _assert_clean(db: Database, dialect: str) -> None:
    """The one connection is free, works, holds no transaction, and the server runs nothing of ours."""
    assert db.stats().in_use == 0
    assert await db.providers.list() == []
    await db.providers.create(Provider(name="after"))
    await db.health()
    if dialect == "postgres":
        assert await _running(db) == 0


async def test_query_timeout_stops_the_statement(db: Database, dialect: str) -> None:
    async with _within(10):
        with pytest.raises(QueryTimeoutError, match="query_timeout") as caught:
            await _endless(db, dialect)
    assert isinstance(caught.value, TimeoutError)
    await _assert_clean(db, dialect)


async def test_a_caller_s_timeout_stops_the_statement(make_database: MakeDatabase, dialect: str) -> None:
    db = await make_database(query_timeout="1m")
    async with _within(10):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.15):
                await _endless(db, dialect)
    assert not isinstance(caught.value, QueryTimeoutError)
    await _assert_clean(db, dialect)


async def test_a_caller_s_cancellation_stops_the_statement(make_database: MakeDatabase, dialect: str) -> None:
    db = await make_database(query_timeout="1m")
    begun = asyncio.Event()

    async def work() -> None:
        async with db.transaction() as tx:
            await tx.providers.create(Provider(name="in vain"))
            begun.set()
            await tx.fetch(ENDLESS[dialect])

    task = asyncio.create_task(work())
    await begun.wait()
    async with _within(10):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await _assert_clean(db, dialect)


async def test_the_server_runs_nothing_more_for_who_gave_up(postgres_url: str) -> None:
    config = DatabaseConfig(url=postgres_url, query_timeout=timedelta(minutes=1))
    async with Database(config) as db, Database(postgres_url) as observer:
        task = asyncio.create_task(_endless_on_postgres(db))
        await _until_running(observer, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until_running(observer, 0)


async def _endless_on_postgres(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.fetch(ENDLESS["postgres"])


async def _until_running(observer: Database, count: int) -> None:
    async with asyncio.timeout(10):
        while await _running(observer) != count:
            pass


async def _running(observer: Database) -> int:
    # One transaction sees one and the same pg_stat_activity.
    async with observer.transaction() as tx:
        return int((await tx.fetch(RUNNING))[0]["n"])


async def test_who_finds_no_free_connection_waits_no_longer_than_query_timeout(db: Database) -> None:
    async def hold(tx_is_open: asyncio.Event, done: asyncio.Event) -> None:
        async with db.transaction() as tx:
            await tx.providers.list()
            tx_is_open.set()
            await done.wait()

    is_open, done = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(hold(is_open, done))
    await is_open.wait()
    async with _within(10):
        with pytest.raises(QueryTimeoutError):
            await db.providers.create(Provider(name="in vain"))
    stats = db.stats()
    assert stats.wait_count == 1
    assert stats.wait_duration.total_seconds() >= 0.1
    done.set()
    await holder
    assert await db.providers.list() == []


async def test_a_caller_who_gives_up_waiting_for_a_connection_leaves_it_to_the_next(
    make_database: MakeDatabase,
) -> None:
    db = await make_database(query_timeout="1m")
    async with db.transaction() as tx:
        await tx.providers.list()
        waiters = [asyncio.create_task(db.providers.create(Provider(name=f"{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        for waiter in waiters[:3]:
            waiter.cancel()
        await asyncio.wait(waiters[:3])
    await asyncio.gather(*waiters[3:])
    assert [provider.name for provider in await db.providers.list()] == ["3", "4"]
    assert db.stats().in_use == 0


@pytest.mark.parametrize("rounds", [40])
async def test_cancelling_at_any_moment_leaves_nothing_behind(make_database: MakeDatabase, rounds: int) -> None:
    """Each round is cancelled one step of the loop later than the one before."""
    db = await make_database(query_timeout="1m", max_open_conns=2)

    async def work(number: int) -> None:
        async with db.transaction() as tx:
            await tx.providers.create(Provider(name=f"{number}"))
            await tx.providers.create(Provider(name=f"{number} too"))

    for number in range(rounds):
        task = asyncio.create_task(work(number))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    names = {provider.name for provider in await db.providers.list(limit=100)}
    assert {name.removesuffix(" too") for name in names} == {name for name in names if not name.endswith("too")}
    assert len(names) % 2 == 0
    assert db.stats().in_use == 0
