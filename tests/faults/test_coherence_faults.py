"""Others change what this process has cached, while its way to the database is cut, silent or gone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from gatewaydb import Database, DatabaseConfig, DatabaseUnavailableError, QueryTimeoutError
from tests.clock import ManualClock, until
from tests.conftest import MakeDatabase
from tests.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        asyncio.run(Database(server.url()).migrate())
        yield server


@pytest.fixture
def config(server: PostgresServer) -> DatabaseConfig:
    return DatabaseConfig(url=server.url(), query_timeout="500ms", change_poll_interval="50ms")


class Proxy:
    """Passes bytes on to PostgreSQL, until those who are connected now are to hear nothing any more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.silence()
        self._server.close()
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def silence(self) -> None:
        """The connections of now stay open, and nothing comes through: as when a network is cut."""
        for pump in self._pumps:
            pump.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, to_upstream]
        for source, target in ((reader, to_upstream), (upstream, writer)):
            pump = asyncio.create_task(_pump(source, target))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
        target.close()


@pytest.fixture
async def proxy(server: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


async def _until_refused(db: Database, key_hash: str) -> None:
    async def is_refused() -> bool:
        # The pool's connections may be as dead as the one that watched, and their users find out for themselves.
        with suppress(QueryTimeoutError, DatabaseUnavailableError):
            return not (await db.api_keys.get_by_hash(key_hash)).enabled
        return False

    await until(is_refused)


async def test_a_connection_that_hears_nothing_any_more_is_found_out(
    config: DatabaseConfig, proxy: Proxy, make_database: MakeDatabase
) -> None:
    elsewhere = await make_database()
    url = urlsplit(str(config.url))
    through = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{proxy.port}").geturl()
    db = await make_database(url=through)
    key, _ = await elsewhere.api_keys.issue("a")
    await db.api_keys.get_by_hash(key.key_hash)
    proxy.silence()
    await elsewhere.api_keys.set_enabled(key.id, False)
    await until(lambda: db.stats().change_feed.reconnects == 1)
    assert db.stats().api_key_cache.size == 0
    await _until_refused(db, key.key_hash)
    assert db.stats().change_feed.listener == "listening"


async def test_what_changed_after_a_restart_and_before_the_reconnection_is_known(
    server: PostgresServer, make_database: MakeDatabase, clock: ManualClock
) -> None:
    db = await make_database(clock=clock)  # which connects again when the clock says so
    key, _ = await db.api_keys.issue("a")
    await db.api_keys.get_by_hash(key.key_hash)
    await asyncio.to_thread(server.restart)
    await until(lambda: db.stats().change_feed.listener == "reconnecting")
    await asyncio.to_thread(server.psql, f"UPDATE api_keys SET enabled = FALSE WHERE id = '{key.id}'")
    assert (await db.api_keys.get_by_hash(key.key_hash)).enabled
    clock.advance(1)
    await until(lambda: db.stats().change_feed.listener == "listening")
    assert not (await db.api_keys.get_by_hash(key.key_hash)).enabled


async def test_while_the_server_is_away_the_caches_keep_what_they_have(
    server: PostgresServer, make_database: MakeDatabase
) -> None:
    db = await make_database()
    key, _ = await db.api_keys.issue("a")
    cached = await db.api_keys.get_by_hash(key.key_hash)
    server.kill()
    try:
        await until(lambda: db.stats().change_feed.listener == "reconnecting")
        assert await db.api_keys.get_by_hash(key.key_hash) is cached
    finally:
        await asyncio.to_thread(server.restart)
    await until(lambda: db.stats().change_feed.listener == "listening")
    assert await db.api_keys.get_by_hash(key.key_hash) is cached
    await asyncio.to_thread(server.psql, f"UPDATE api_keys SET enabled = FALSE WHERE id = '{key.id}'")
    await _until_refused(db, key.key_hash)


async def test_a_server_that_hangs_is_noticed_and_its_return_is_too(
    server: PostgresServer, make_database: MakeDatabase
) -> None:
    db = await make_database()
    server.pause()
    try:
        await until(lambda: db.stats().change_feed.listener == "reconnecting")
    finally:
        server.resume()
    await until(lambda: db.stats().change_feed.listener == "listening")
