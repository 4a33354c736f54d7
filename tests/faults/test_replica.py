"""Reports that a streaming replica answers, as long as it does."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gatewaydb import APIKey, APIKeyNotFoundError, Database, DatabaseConfig, QueryTimeoutError, UsageRecord
from gatewaydb.engines.statements import DIALECTS, load_statements
from gatewaydb.entities.base import new_id
from tests.clock import ManualClock
from tests.conftest import MakeDatabase
from tests.postgres_server import PostgresServer
from tests.postgres_standby import PostgresStandby

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as server:
        asyncio.run(Database(server.url()).migrate())
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresStandby]:
    with PostgresStandby(primary) as server:
        yield server


@pytest.fixture
def config(primary: PostgresServer, standby: PostgresStandby) -> DatabaseConfig:
    return DatabaseConfig(url=primary.url(), read_url=standby.url(), query_timeout="2s")


@pytest.fixture
async def db(make_database: MakeDatabase, clock: ManualClock) -> Database:
    return await make_database(clock=clock)


@pytest.fixture
async def api_key(db: Database, standby: PostgresStandby) -> APIKey:
    """A key with one record, which the replica has."""
    key, _ = await db.api_keys.issue("spender")
    await db.usage.create(UsageRecord(api_key_id=key.id, prompt_tokens=1))
    standby.catch_up()
    return key


async def _reports(db: Database, key: APIKey) -> list[int]:
    """How many requests each of the reports sees."""
    return [
        (await db.usage.get_totals_by_api_key(key.id, START, END)).requests,
        len(await db.usage.get_by_api_key(key.id, START, END)),
        sum(summary.total_requests for summary in await db.monthly_summaries.get_by_api_key(key.id)),
    ]


async def test_reports_come_from_the_replica_and_nothing_else_does(
    db: Database, api_key: APIKey, standby: PostgresStandby
) -> None:
    standby.psql("SELECT pg_wal_replay_pause()")
    try:
        record = await db.usage.create(UsageRecord(api_key_id=api_key.id, prompt_tokens=1))
        other, secret = await db.api_keys.issue("new")
        assert await _reports(db, api_key) == [1, 1, 1]
        assert await db.usage.get_by_id(record.id) == record
        assert (await db.api_keys.authenticate(secret)).id == other.id
        assert other.id in {key.id for key in await db.api_keys.list(limit=1000)}
        month = (api_key.id, record.request_timestamp.year, record.request_timestamp.month)
        assert (await db.monthly_summaries.get_by_api_key_and_month(*month)).total_requests == 2
        async with db.transaction() as tx:
            for usage in (tx.usage, db.usage):
                assert (await usage.get_totals_by_api_key(api_key.id, START, END)).requests == 2
    finally:
        standby.psql("SELECT pg_wal_replay_resume()")
    standby.catch_up()
    assert await _reports(db, api_key) == [2, 2, 2]
    assert db.stats().replica_fallbacks == 0


async def test_without_its_replica_the_primary_answers_and_says_so_once_a_minute(
    db: Database, api_key: APIKey, standby: PostgresStandby, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    standby.kill()
    try:
        for _ in range(4):
            assert await _reports(db, api_key) == [1, 1, 1]
            clock.advance(6)
        assert db.stats().replica_fallbacks == 12
        assert [(record.name, record.levelno) for record in caplog.records] == [("gatewaydb", logging.WARNING)]
        assert "only-for-tests" not in caplog.text
        clock.advance(60)
        assert await _reports(db, api_key) == [1, 1, 1]
        assert len(caplog.records) == 2
    finally:
        standby.restart()
    clock.advance(6)
    assert await _reports(db, api_key) == [1, 1, 1]
    assert db.stats().replica_fallbacks == 15


async def test_a_database_opens_without_its_replica(config: DatabaseConfig) -> None:
    nowhere = replace(config, read_url="postgresql://postgres@127.0.0.1:1/postgres")
    async with Database(nowhere) as db:
        assert (await db.contents()).size_bytes > 0
        with pytest.raises(APIKeyNotFoundError):
            await db.api_keys.get_by_id(new_id())
        assert db.stats().replica_fallbacks == 2


async def test_a_replica_that_hangs_costs_one_timeout_and_then_the_primary_answers(
    make_database: MakeDatabase, api_key: APIKey, standby: PostgresStandby
) -> None:
    db = await make_database(query_timeout="1s")
    assert await _reports(db, api_key) == [1, 1, 1]
    standby.pause()
    try:
        # A report that takes too long is not asked again of the primary: it would take too long there.
        with pytest.raises(QueryTimeoutError):
            await _reports(db, api_key)
        assert await _reports(db, api_key) == [1, 1, 1]
        assert db.stats().replica_fallbacks == 3
    finally:
        standby.resume()


def test_what_feeds_the_cache_is_no_report() -> None:
    for dialect in DIALECTS:
        reports = [name for name, statement in load_statements(dialect).items() if statement.is_report]
        assert reports
        assert all(name.startswith(("usage_record_", "monthly_usage_summary_", "contents_")) for name in reports)
