"""A PostgreSQL that is killed or hangs, under traffic: who is cached goes on, and nobody waits twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NamedTuple

import pytest

from gatewaydb import APIKeyDisabledError, APIKeyNotFoundError, Database, DatabaseUnavailableError, QueryTimeoutError
from tests.clock import until
from tests.conftest import MakeDatabase
from tests.postgres_server import PostgresServer

GONE = (DatabaseUnavailableError, QueryTimeoutError)
QUERY_TIMEOUT_S = 1.0
# What takes no waiting takes microseconds; this leaves room for a machine with other work.
AT_ONCE_S = 0.5


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
    return await make_database(query_timeout=f"{QUERY_TIMEOUT_S}s", api_key_cache_ttl="100ms")


class Callers(NamedTuple):
    """The secrets of keys that were cached and have expired."""

    valid: list[str]
    disabled: str


@pytest.fixture
async def callers(db: Database) -> Callers:
    issued = [await db.api_keys.issue(f"caller {number}") for number in range(20)]
    await db.api_keys.set_enabled(issued[-1][0].id, False)
    secrets = [secret for _, secret in issued]
    await asyncio.gather(*map(db.api_keys.authenticate, secrets), return_exceptions=True)
    await until(lambda: not db.api_keys._cache.live)
    return Callers(secrets[:-1], secrets[-1])


@pytest.fixture(params=["killed", "paused"])
async def outage(request: pytest.FixtureRequest, server: PostgresServer) -> AsyncIterator["Outage"]:
    outage = Outage(server, request.param == "killed")
    yield outage
    outage.end()


class Outage:
    """SIGKILL and a restart, or SIGSTOP and SIGCONT."""

    def __init__(self, server: PostgresServer, is_killed: bool) -> None:
        self._server = server
        self.is_killed = is_killed
        self._is_on = False

    def begin(self) -> None:
        self._is_on = True
        (self._server.kill if self.is_killed else self._server.pause)()

    def end(self) -> None:
        if self._is_on:
            self._is_on = False
            (self._server.restart if self.is_killed else self._server.resume)()


async def timed(call: Callable[[], Awaitable[object]]) -> tuple[float, object]:
    start = time.monotonic()
    try:
        result = await call()
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        result = error
    return time.monotonic() - start, result


async def first_failure(db: Database) -> None:
    """Somebody suffers the outage."""
    with pytest.raises(GONE):
        await db.api_keys.get_by_hash("first")


async def recovered(db: Database) -> float:
    """Seconds until a key that nobody asked for before is answered."""
    start = time.monotonic()
    numbers = iter(range(1_000_000))

    async def is_answered() -> bool:
        try:
            await db.api_keys.get_by_hash(f"ghost {start} {next(numbers)}")
        except APIKeyNotFoundError:
            return True
        except GONE:
            return False
        raise AssertionError

    await until(is_answered)
    return time.monotonic() - start


async def test_cached_keys_go_on_and_nobody_waits_for_a_timeout_that_another_has_suffered(
    db: Database, callers: Callers, outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    outage.begin()
    await first_failure(db)
    for _ in range(3):
        results = await asyncio.gather(
            *(timed(lambda secret=secret: db.api_keys.authenticate(secret)) for secret in callers.valid * 10),  # type: ignore[misc]
            *(timed(lambda number=number: db.api_keys.get_by_hash(f"unknown {number}")) for number in range(100)),  # type: ignore[misc]
            timed(lambda: db.api_keys.authenticate(callers.disabled)),
        )
        assert max(took for took, _ in results) < AT_ONCE_S
        served, refused = results[:190], results[190:290]
        assert not any(isinstance(result, Exception) for _, result in served)
        assert all(isinstance(result, DatabaseUnavailableError) for _, result in refused)
        assert isinstance(results[-1][1], APIKeyDisabledError)
    assert db.stats().api_key_cache.stale_served >= 570
    assert len([each for each in caplog.messages if "the database is down" in each]) == 1


async def test_who_is_first_waits_no_longer_than_query_timeout(db: Database, callers: Callers, outage: Outage) -> None:
    outage.begin()
    results = await asyncio.gather(
        *(timed(lambda secret=secret: db.api_keys.authenticate(secret)) for secret in callers.valid),  # type: ignore[misc]
        *(timed(lambda number=number: db.api_keys.get_by_hash(f"unknown {number}")) for number in range(100)),  # type: ignore[misc]
    )
    assert not any(isinstance(result, Exception) for _, result in results[:19])
    assert all(isinstance(result, GONE) for _, result in results[19:])
    # The timeout of the server's own cancelling comes on top of the first one.
    assert max(took for took, _ in results) < 3 * QUERY_TIMEOUT_S + AT_ONCE_S


async def test_recovery_is_noticed_within_a_second_and_what_changed_meanwhile_is_honoured(
    server: PostgresServer, db: Database, callers: Callers, outage: Outage
) -> None:
    outage.begin()
    await first_failure(db)
    await db.api_keys.authenticate(callers.valid[0])
    outage.end()
    server.psql("UPDATE api_keys SET enabled = false WHERE name = 'caller 0'")
    assert await recovered(db) < 1 + AT_ONCE_S
    with pytest.raises(APIKeyDisabledError):
        await db.api_keys.authenticate(callers.valid[0])
    results = await asyncio.gather(*map(db.api_keys.authenticate, callers.valid[1:]), return_exceptions=True)
    assert not any(isinstance(result, Exception) for result in results)


async def test_who_was_answered_may_ask_on(db: Database, outage: Outage) -> None:
    outage.begin()
    await first_failure(db)
    outage.end()
    await db.health()
    _, secret = await db.api_keys.issue("after")
    await db.api_keys.authenticate(secret)


async def test_one_lost_connection_is_no_outage(server: PostgresServer, db: Database, callers: Callers) -> None:
    server.psql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    assert await recovered(db) < AT_ONCE_S


async def test_a_pool_that_others_have_taken_is_no_outage(make_database: MakeDatabase) -> None:
    db = await make_database(max_open_conns=1, query_timeout="200ms")
    async with db.transaction() as tx:
        await tx.api_keys.list()
        results = await asyncio.gather(*(db.api_keys.get_by_hash(f"{n}") for n in range(5)), return_exceptions=True)
        assert all(isinstance(result, QueryTimeoutError) for result in results)
    assert not any(reader.breaker.is_open for reader in db._engine._readers)
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_hash("0")


async def test_a_database_closes_while_it_is_down(make_database: MakeDatabase, outage: Outage) -> None:
    db = await make_database(query_timeout=f"{QUERY_TIMEOUT_S}s")
    outage.begin()
    await first_failure(db)
    took, result = await timed(db.close)
    assert result is None
    assert took < 15
