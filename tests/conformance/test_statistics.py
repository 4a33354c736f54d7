"""The statistics of the guide: connections, waits and what was closed why. The caches' own are in their tests."""

import asyncio
from datetime import timedelta

import pytest

from gatewaydb import Database, DatabaseConfig, DatabaseUnavailableError, Provider
from tests.clock import ManualClock, until
from tests.conftest import MakeDatabase


async def test_the_defaults_are_the_guide_s(db: Database) -> None:
    stats = db.stats()
    assert stats.max_open_connections == 25
    assert (stats.wait_count, stats.wait_duration, stats.max_idle_closed, stats.max_lifetime_closed) == (
        0,
        timedelta(0),
        0,
        0,
    )
    assert (stats.api_key_cache.capacity, stats.api_key_cache.ttl) == (1000, timedelta(minutes=5))
    assert (stats.model_cache.capacity, stats.model_cache.ttl) == (500, timedelta(minutes=15))
    for cache in (stats.api_key_cache, stats.model_cache):
        assert (cache.size, cache.hits, cache.misses, cache.hit_rate, cache.evictions, cache.expirations) == (0,) * 6


async def test_open_connections_are_idle_or_in_use(db: Database) -> None:
    stats = db.stats()
    assert stats.open_connections == stats.idle > 0
    assert stats.in_use == 0
    async with db.transaction() as tx:
        await tx.providers.list()
        busy = db.stats()
        assert busy.in_use == 1
        assert busy.open_connections == busy.in_use + busy.idle
    assert db.stats().in_use == 0


async def test_a_closed_database_has_no_connections(config: DatabaseConfig) -> None:
    db = Database(config)
    assert db.stats().open_connections == db.stats().in_use == db.stats().idle == 0
    await db.open()
    await db.close()
    assert db.stats().open_connections == 0
    await db.close()


async def test_a_closed_database_is_unavailable_and_opens_again(config: DatabaseConfig) -> None:
    db = Database(config)
    for _ in range(2):
        for call in (db.health(), db.providers.list(), db.providers.create(Provider(name="a"))):
            with pytest.raises(DatabaseUnavailableError):
                await call
        await db.open()
        assert await db.providers.list() == []
        await db.close()


async def test_the_caches_statistics_count(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock, api_key_cache_size=2, api_key_cache_ttl="10s")
    secrets = [(await db.api_keys.issue(f"{number}"))[1] for number in range(3)]
    for secret in [*secrets, secrets[2]]:
        await db.api_keys.authenticate(secret)
    stats = db.stats().api_key_cache
    assert (stats.size, stats.capacity, stats.evictions, stats.hits, stats.misses) == (2, 2, 1, 1, 3)
    assert stats.hit_rate == 0.25
    clock.advance(10)
    assert db.cleanup_expired_cache_entries() == (2, 0)
    stats = db.stats().api_key_cache
    assert (stats.size, stats.expirations) == (0, 2)


async def test_cleaning_up_runs_by_itself_every_minute(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock, api_key_cache_ttl="10s")
    _, secret = await db.api_keys.issue("a")
    await db.api_keys.authenticate(secret)
    clock.advance(59)
    assert db.stats().api_key_cache.size == 1
    clock.advance(1)
    assert db.stats().api_key_cache.size == 0
    assert db.cleanup_expired_cache_entries() == (0, 0)


class TestThePoolOfPostgreSQL:
    @pytest.fixture
    def database_url(self, postgres_url: str) -> str:
        return postgres_url

    async def test_no_more_than_max_open_conns_are_open_whoever_calls(self, make_database: MakeDatabase) -> None:
        db = await make_database(max_open_conns=4, query_timeout="30s")
        peak = 0

        async def call() -> int:
            nonlocal peak
            async with db.transaction() as tx:
                rows = await tx.fetch("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()")
                peak = max(peak, db.stats().in_use, db.stats().open_connections)
                return int(rows[0]["n"])

        seen = await asyncio.gather(*(call() for _ in range(100)))
        stats = db.stats()
        assert max(seen) <= 4 + 1  # one more watches for what others change
        assert peak == 4
        assert stats.wait_count >= 90
        assert stats.wait_duration > timedelta(0)

    async def test_a_connection_is_closed_at_the_end_of_its_life(
        self, make_database: MakeDatabase, clock: ManualClock
    ) -> None:
        db = await make_database(clock=clock, max_open_conns=1, conn_max_lifetime="5m")
        before = await self._pid(db)
        clock.advance(299)
        assert await self._pid(db) == before
        clock.advance(2)
        await db.health()
        assert db.stats().max_lifetime_closed == 1
        assert await self._pid(db) != before
        assert db.stats().max_lifetime_closed == 1

    async def test_a_lifetime_of_zero_is_without_end(self, make_database: MakeDatabase, clock: ManualClock) -> None:
        db = await make_database(clock=clock, max_open_conns=1, conn_max_lifetime="0s")
        before = await self._pid(db)
        clock.advance(10**5)
        await db.health()
        assert await self._pid(db) == before

    async def test_surplus_idle_connections_are_closed(self, make_database: MakeDatabase) -> None:
        db = await make_database(max_open_conns=10, max_idle_conns=2)
        await asyncio.gather(*(self._pid(db) for _ in range(10)))
        await until(lambda: db.stats().idle <= 2)
        stats = db.stats()
        assert stats.max_idle_closed >= 1
        assert stats.open_connections == 2
        await db.health()

    async def test_an_idle_connection_is_closed_after_conn_max_idle_time(self, make_database: MakeDatabase) -> None:
        db = await make_database(conn_max_idle_time="100ms")
        await until(lambda: db.stats().open_connections == 0)
        await db.health()

    async def _pid(self, db: Database) -> int:
        async with db.transaction() as tx:
            return int((await tx.fetch("SELECT pg_backend_pid() AS pid"))[0]["pid"])
