"""A line that is cut, slow, dead or refused, a server that is full or read-only: in time, and never a wrong answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from gatewaydb import (
    APIKey,
    APIKeyNotFoundError,
    Database,
    DatabaseConfig,
    DatabaseUnavailableError,
    QueryTimeoutError,
    UsageRecord,
)
from gatewaydb.engines import engine
from gatewaydb.entities.base import new_id
from tests.clock import until
from tests.faults.test_postgres_faults import GONE
from tests.postgres_server import PostgresServer, RunningPostgres
from tests.proxy import TCPProxy

QUERY_TIMEOUT_S = 1.0
# What a call takes at most: its own timeout, and the second in which a cancellation has to get through.
IN_TIME_S = QUERY_TIMEOUT_S + 1 + 4


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[TCPProxy]:
    async with TCPProxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
def database_url(proxy: TCPProxy) -> str:
    return proxy.url


@pytest.fixture
def config(database_url: str) -> DatabaseConfig:
    return DatabaseConfig(url=database_url, query_timeout=timedelta(seconds=QUERY_TIMEOUT_S), max_open_conns=4)


@pytest.fixture
async def cached(db: Database) -> tuple[APIKey, str]:
    """A key that the cache holds, and its secret."""
    key, secret = await db.api_keys.issue("cached")
    await db.api_keys.authenticate(secret)
    return key, secret


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < IN_TIME_S


async def _answers(db: Database, key: APIKey, count: int = 12) -> list[object]:
    """What many callers get at once, on more connections than there are: reads that hit nothing, and writes."""
    calls = [db.api_keys.get_by_id(key.id) for _ in range(count)]
    writes = [db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(count)]
    return list(await asyncio.gather(*calls, *writes, return_exceptions=True))


def _assert_right(answers: list[object], key: APIKey) -> None:
    for answer in answers:
        assert isinstance(answer, (UsageRecord, *GONE)) or answer == key, answer


async def _assert_works(db: Database, key: APIKey) -> None:
    assert not [answer for answer in await _answers(db, key) if isinstance(answer, BaseException)]
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_id(new_id())
    await db.health()
    assert db.stats().in_use == 0


async def test_a_line_that_is_cut_in_a_statement_is_unavailable_and_the_next_call_works(
    db: Database, cached: tuple[APIKey, str], proxy: TCPProxy
) -> None:
    key, secret = cached
    for _ in range(3):
        proxy.delay_s = 0.1
        proxy.is_holding_back.clear()
        calls = asyncio.create_task(_answers(db, key))
        await proxy.is_holding_back.wait()
        proxy.cut()
        answers = await calls
        _assert_right(answers, key)
        assert any(isinstance(answer, DatabaseUnavailableError) for answer in answers)
        await proxy.restore()
        assert await db.api_keys.authenticate(secret) == key
        await _assert_works(db, key)


async def test_a_line_that_is_too_slow_is_a_timeout_in_time_and_the_pool_recovers(
    db: Database, cached: tuple[APIKey, str], proxy: TCPProxy
) -> None:
    key, secret = cached
    proxy.delay_s = 1.2 * QUERY_TIMEOUT_S
    async with _in_time():
        with pytest.raises(QueryTimeoutError):
            await db.api_keys.get_by_id(key.id)
    async with _in_time():
        answers = await _answers(db, key)
    assert all(isinstance(answer, GONE) for answer in answers)
    assert await db.api_keys.authenticate(secret) == key
    await proxy.restore()
    await _assert_works(db, key)


async def test_a_line_that_is_dead_is_noticed_in_time_by_all(
    db: Database, cached: tuple[APIKey, str], proxy: TCPProxy
) -> None:
    key, secret = cached
    await asyncio.gather(*(db.api_keys.list() for _ in range(4)))
    proxy.half_open()
    accepted = proxy.accepted
    async with _in_time():
        with pytest.raises(QueryTimeoutError):
            await db.api_keys.get_by_id(key.id)
    # One connection has told; the others are not tried one after another.
    async with _in_time():
        with pytest.raises(DatabaseUnavailableError, match="no answer in time"):
            await db.api_keys.get_by_id(key.id)
    assert proxy.accepted > accepted
    async with _in_time():
        answers = await _answers(db, key)
    assert all(isinstance(answer, GONE) for answer in answers)
    assert await db.api_keys.authenticate(secret) == key
    await proxy.restore()
    await _assert_works(db, key)


async def test_a_transaction_on_a_dead_line_ends_in_time(db: Database, proxy: TCPProxy) -> None:
    async def issue_two() -> None:
        async with db.transaction() as tx:
            await tx.api_keys.issue("in vain")
            proxy.half_open()
            await tx.api_keys.issue("in vain, too")

    async with _in_time():
        with pytest.raises(QueryTimeoutError):
            await issue_two()
    await proxy.restore()
    assert await db.api_keys.list() == []
    assert db.stats().in_use == 0


async def test_a_refused_connection_is_unavailable_at_once(
    db: Database, cached: tuple[APIKey, str], proxy: TCPProxy
) -> None:
    key, secret = cached
    await proxy.refuse()
    proxy.cut()
    answers = await _answers(db, key)
    assert all(isinstance(answer, DatabaseUnavailableError) for answer in answers)
    assert await db.api_keys.authenticate(secret) == key
    await proxy.restore()
    await _assert_works(db, key)


@pytest.mark.parametrize("fault", ["half_open", "refuse"])
async def test_the_other_host_serves_and_is_remembered(
    config: DatabaseConfig, proxy: TCPProxy, postgres_url: str, fault: str
) -> None:
    async with TCPProxy(postgres_url) as second:
        both = proxy.url.replace(proxy.address, f"{proxy.address},{second.address}")
        async with Database(replace(config, url=both)) as db:
            key, _ = await db.api_keys.issue("moved")
            assert (proxy.accepted, second.accepted) == (2, 0)
            if fault == "refuse":
                await proxy.refuse()
                proxy.cut()
            else:
                proxy.half_open()
            async with _in_time():
                _assert_right(await _answers(db, key), key)
            async with _in_time():
                await _assert_works(db, key)
            accepted = proxy.accepted
            second.cut()
            _assert_right(await _answers(db, key), key)
            await _assert_works(db, key)
            assert proxy.accepted == accepted


async def test_no_host_serves_and_each_says_why(config: DatabaseConfig, proxy: TCPProxy) -> None:
    proxy.half_open()
    two = proxy.url.replace(proxy.address, f"127.0.0.1:1,{proxy.address}")
    async with _in_time():
        with pytest.raises(
            DatabaseUnavailableError, match=rf"127\.0\.0\.1:1: .*; {proxy.address}: no answer"
        ) as caught:
            await Database(replace(config, url=two)).open()
    assert "only-for-tests" not in str(caught.value)


@pytest.mark.parametrize("is_connected", [True, False], ids=["statements", "connects"])
async def test_closing_on_a_dead_line_ends_fifty_requests_in_time(
    config: DatabaseConfig, proxy: TCPProxy, monkeypatch: pytest.MonkeyPatch, is_connected: bool
) -> None:
    monkeypatch.setattr(engine, "CLOSE_TIMEOUT", timedelta(seconds=0.2))
    others = asyncio.all_tasks()
    db = Database(replace(config, query_timeout=timedelta(minutes=1), max_open_conns=60))
    await db.open()
    key, _ = await db.api_keys.issue("busy")
    if is_connected:
        await asyncio.gather(*(db.api_keys.list() for _ in range(30)))
    proxy.half_open()
    calls = [db.api_keys.get_by_id(key.id) for _ in range(25)]
    writes = [db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(25)]
    requests = [asyncio.create_task(call) for call in (*calls, *writes)]
    await asyncio.sleep(0)
    async with _in_time():
        await db.close()
        answers = await asyncio.gather(*requests, return_exceptions=True)
    assert [answer for answer in answers if not isinstance(answer, DatabaseUnavailableError)] == []
    await until(lambda: {task for task in asyncio.all_tasks() - others if "proxy" not in repr(task)} == set())
    await proxy.restore()
    async with db:
        assert (await db.api_keys.get_by_id(key.id)).id == key.id


FULL_DISK = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER full_disk AFTER INSERT ON usage_records FOR EACH ROW EXECUTE FUNCTION full_disk();
"""


async def test_a_server_whose_disk_is_full_is_unavailable_and_nothing_is_half_written(
    db: Database, cached: tuple[APIKey, str], proxy: TCPProxy, postgres: RunningPostgres
) -> None:
    """Only root can fill a disk; a trigger says what the server says then, in the middle of a write."""
    key, secret = cached
    name = proxy.url.rpartition("/")[2]
    postgres.psql(FULL_DISK, name)
    with pytest.raises(DatabaseUnavailableError, match="No space left"):
        await db.usage.create_many([UsageRecord(api_key_id=key.id) for _ in range(10)])
    with pytest.raises(DatabaseUnavailableError, match="No space left"):
        await db.usage.create(UsageRecord(api_key_id=key.id))
    assert await db.api_keys.authenticate(secret) == key
    assert await db.monthly_summaries.get_by_api_key(key.id) == []
    postgres.psql("DROP FUNCTION full_disk CASCADE", name)
    await _assert_works(db, key)


@pytest.fixture(scope="module")
def small_server() -> Iterator[PostgresServer]:
    """Room for five connections beside those of superusers: two watch for changes."""
    settings = {"max_connections": "8", "superuser_reserved_connections": "3", "max_wal_senders": "0"}
    with PostgresServer(durable=False, settings=settings) as server:
        asyncio.run(Database(server.url()).migrate())
        server.psql("CREATE ROLE gateway LOGIN PASSWORD 'only-for-tests' IN ROLE pg_read_all_data, pg_write_all_data")
        yield server


@pytest.fixture
def gateway_url(small_server: PostgresServer) -> str:
    return small_server.url().replace("//postgres:", "//gateway:")


async def test_a_full_connection_limit_is_unavailable_and_not_not_found(gateway_url: str) -> None:
    config = DatabaseConfig(url=gateway_url, query_timeout="2s", max_open_conns=3)
    async with Database(config) as db, AsyncExitStack() as others:
        key, secret = await db.api_keys.issue("cached")
        hog = await others.enter_async_context(Database(config))
        transactions = AsyncExitStack()
        await asyncio.gather(*(_hold(hog, transactions) for _ in range(2)))
        answers = await _answers(db, key)
        _assert_right(answers, key)
        full = [answer for answer in answers if isinstance(answer, BaseException)]
        assert full
        assert all(isinstance(each, DatabaseUnavailableError) for each in full)
        assert (await db.api_keys.authenticate(secret)).id == key.id
        with pytest.raises(DatabaseUnavailableError, match="connection"):
            await Database(config).open()
        await transactions.aclose()
        await others.aclose()
        await _until_works(db, key)


async def _hold(db: Database, transactions: AsyncExitStack) -> None:
    release = asyncio.Event()
    holding = asyncio.Event()

    async def hold() -> None:
        async with db.transaction() as tx:
            await tx.providers.list()
            holding.set()
            await release.wait()

    task = asyncio.create_task(hold())
    await holding.wait()

    async def end() -> None:
        release.set()
        await task

    transactions.push_async_callback(end)


async def _until_works(db: Database, key: APIKey) -> None:
    """The server lets a closed connection's place go a moment later."""
    async with asyncio.timeout(30):
        while any(isinstance(answer, BaseException) for answer in await _answers(db, key)):
            pass
    await _assert_works(db, key)


async def test_a_server_that_became_read_only_is_left(small_server: PostgresServer, gateway_url: str) -> None:
    """A demoted primary: its connections live on, and every write on them would fail."""
    config = DatabaseConfig(url=f"{gateway_url}?target_session_attrs=read-write", query_timeout="2s", max_open_conns=2)
    async with Database(config) as db:
        key, secret = await db.api_keys.issue("cached")
        await asyncio.gather(db.api_keys.authenticate(secret), db.api_keys.list())
        _set_read_only(small_server, "on")
        try:
            await _until_refused(db, key)
            assert db.stats().open_connections <= 1
            with pytest.raises(DatabaseUnavailableError, match="target_session_attrs"):
                await db.usage.create(UsageRecord(api_key_id=key.id))
            assert (await db.api_keys.authenticate(secret)).id == key.id
        finally:
            _set_read_only(small_server, "off")
        await _until_works(db, key)


def _set_read_only(server: PostgresServer, value: str) -> None:
    server.psql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    server.psql("SELECT pg_reload_conf()")


async def _until_refused(db: Database, key: APIKey) -> None:
    """The server's processes hear of the setting a moment later."""

    async def write_on() -> None:
        while True:
            await db.usage.create(UsageRecord(api_key_id=key.id))

    with pytest.raises(DatabaseUnavailableError, match="read-only"):
        await asyncio.wait_for(write_on(), 30)
