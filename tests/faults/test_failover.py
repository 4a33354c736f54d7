"""A primary that dies under load, and a synchronous standby that takes its place."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

import pytest

from gatewaydb import APIKeyDisabledError, Database, DatabaseConfig, DatabaseUnavailableError, UsageRecord
from tests.clock import until
from tests.faults.test_postgres_faults import GONE
from tests.postgres_server import PASSWORD, USER, PostgresServer
from tests.postgres_standby import PostgresStandby

QUERY_TIMEOUT_S = 2.0


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as server:
        asyncio.run(Database(server.url()).migrate())
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresStandby]:
    with PostgresStandby(primary) as server:
        server.follow_synchronously()
        yield server


@pytest.fixture
def config(primary: PostgresServer, standby: PostgresStandby) -> DatabaseConfig:
    places = ",".join(f"127.0.0.1:{server.port}" for server in (primary, standby))
    return DatabaseConfig(url=f"postgresql://{USER}:{PASSWORD}@{places}/postgres", query_timeout=f"{QUERY_TIMEOUT_S}s")


class Load:
    """Readers that authenticate a cached key, and writers that record usage, until `stop`."""

    def __init__(self, db: Database, secret: str, key_id: UUID) -> None:
        self._db = db
        self._secret = secret
        self._key_id = key_id
        self.reads = 0
        self.attempts = 0
        self.acknowledged: list[tuple[float, UUID]] = []
        work = [*(self._read() for _ in range(4)), *(self._write() for _ in range(20))]
        self._tasks = [asyncio.create_task(each) for each in work]

    async def stop(self) -> None:
        """Raises what a reader raised."""
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}, results

    async def _read(self) -> None:
        while True:
            await self._db.api_keys.authenticate(self._secret)
            self.reads += 1
            await asyncio.sleep(0.001)

    async def _write(self) -> None:
        while True:
            self.attempts += 1
            with suppress(*GONE):
                record = await self._db.usage.create(UsageRecord(api_key_id=self._key_id, prompt_tokens=1))
                self.acknowledged.append((time.monotonic(), record.id))
            await asyncio.sleep(0.005)


async def test_a_standby_takes_over_and_nothing_that_was_acknowledged_is_lost(
    primary: PostgresServer, standby: PostgresStandby, config: DatabaseConfig
) -> None:
    async with Database(config) as db:
        key, secret = await db.api_keys.issue("cached")
        await db.api_keys.authenticate(secret)
        load = Load(db, secret, key.id)
        await until(lambda: len(load.acknowledged) >= 200)
        await asyncio.to_thread(primary.kill)
        reads = load.reads
        with pytest.raises(DatabaseUnavailableError):
            await db.health()
        await asyncio.to_thread(standby.promote)
        promoted = time.monotonic()
        await until(lambda: len([at for at, _ in load.acknowledged if at > promoted]) >= 200)
        await load.stop()
        assert load.reads > reads
        # The promise: within one query_timeout of the promotion.
        assert min(at for at, _ in load.acknowledged if at > promoted) - promoted < QUERY_TIMEOUT_S
        await _assert_all_there(db, load, key.id)
        await _assert_the_cache_is_right(db, config, secret, key.id)
        assert db.stats().in_use == 0


async def _assert_all_there(db: Database, load: Load, key_id: UUID) -> None:
    async with db.transaction() as tx:
        stored = {row["id"] for row in await tx.fetch("SELECT id FROM usage_records")}
    assert {record_id for _, record_id in load.acknowledged} <= stored
    assert len(stored) <= load.attempts
    (summary,) = await db.monthly_summaries.get_by_api_key(key_id)
    assert summary.total_requests == len(stored)


async def _assert_the_cache_is_right(db: Database, config: DatabaseConfig, secret: str, key_id: UUID) -> None:
    await db.api_keys.set_enabled(key_id, False)
    async with Database(config) as other:
        for each in (db, other):
            with pytest.raises(APIKeyDisabledError):
                await each.api_keys.authenticate(secret)
