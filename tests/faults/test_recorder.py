"""What `record` acknowledged is in the database, once, whatever was killed when.

GATEWAYDB_TEST_KILLS sets how often the writer is killed: `make kills` kills it hundreds of times.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatewaydb import Database, DatabaseUnavailableError, RecorderStats, UsageRecord
from gatewaydb.entities.base import new_id
from tests.clock import until
from tests.faults.recording import KEYS, ids_in, recording_process
from tests.postgres_server import PostgresServer

KILLS = int(os.environ.get("GATEWAYDB_TEST_KILLS", "15"))
LONGEST_LIFE_S = 0.25


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def acknowledged(tmp_path: Path) -> Path:
    return tmp_path / "acknowledged"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as server:
        asyncio.run(Database(server.url()).migrate())
        yield server


async def _ship(url: str, journal: Path) -> RecorderStats:
    """What is left, as the next process does."""
    async with Database(url) as db, db.recorder(journal) as recorder:
        await recorder.flush()
        return recorder.stats()


async def _live_and_die(url: str, journal: Path, acknowledged: Path, longest_s: float, *, is_early: bool) -> None:
    """Killed at any moment: from its start on, or, if not so early, from the first acknowledgement on."""
    before = len(ids_in(acknowledged))
    with recording_process(url, journal, acknowledged):
        if not is_early:
            await until(lambda: len(ids_in(acknowledged)) > before)
        await asyncio.sleep(random.uniform(0, longest_s))


async def _assert_each_once(url: str, acknowledged: Path) -> None:
    told = ids_in(acknowledged)
    async with Database(url) as db:
        async with db.transaction() as tx:
            [sums] = await tx.fetch("SELECT count(*) AS rows, sum(prompt_tokens) AS tokens FROM usage_records")
            stored = {str(row["id"]) for row in await tx.fetch("SELECT id FROM usage_records")}
        summaries = [summary for key in KEYS for summary in await db.monthly_summaries.get_by_api_key(key)]
    assert {str(record_id) for record_id in told} - stored == set()
    assert len(stored) == sums["rows"] == sum(summary.total_requests for summary in summaries)
    assert sums["tokens"] == sum(summary.total_prompt_tokens for summary in summaries)
    assert len(stored) <= len(told) + (KILLS + 1) * 20  # written when the kill came, and nobody was told
    assert told


async def test_what_was_acknowledged_is_in_the_database_once_though_its_writer_is_killed(
    database_url: str, journal: Path, acknowledged: Path
) -> None:
    for number in range(KILLS):
        await _live_and_die(database_url, journal, acknowledged, LONGEST_LIFE_S, is_early=number % 2 == 0)
    stats = await _ship(database_url, journal)
    assert (stats.dropped, stats.rejected, stats.quarantined, stats.backlog_records) == (0, 0, 0, 0)
    await _assert_each_once(database_url, acknowledged)


async def test_it_is_there_once_though_writer_and_server_are_killed(
    server: PostgresServer, journal: Path, acknowledged: Path
) -> None:
    server.create_database("killed", "postgres")
    url = server.url("killed")
    async with _killed_now_and_then(server) as kills:
        for number in range(KILLS):
            await _live_and_die(url, journal, acknowledged, 3 * LONGEST_LIFE_S, is_early=number % 2 == 0)
        await until(lambda: len(kills) >= max(2, KILLS // 5))
    stats = await _ship(url, journal)
    assert (stats.dropped, stats.rejected, stats.quarantined, stats.backlog_records) == (0, 0, 0, 0)
    await _assert_each_once(url, acknowledged)


@asynccontextmanager
async def _killed_now_and_then(server: PostgresServer) -> AsyncIterator[list[int]]:
    """SIGKILL, a while without a server, a while with one, and again; it runs when the block has ended."""
    kills: list[int] = []
    ending = asyncio.Event()

    async def killing() -> None:
        while not ending.is_set():
            await asyncio.sleep(random.uniform(0.1, 1))
            await asyncio.to_thread(server.kill)
            try:
                kills.append(len(kills))
                await asyncio.sleep(random.uniform(0, 0.5))
            finally:
                await asyncio.to_thread(server.restart)

    task = asyncio.create_task(killing())
    try:
        yield kills
    finally:
        ending.set()
        await task


async def test_recording_goes_on_without_the_server_and_ships_when_it_is_back(
    server: PostgresServer, journal: Path
) -> None:
    server.create_database("away", "postgres")
    async with Database(server.url("away")) as db:
        recorder = db.recorder(journal)
        records = [UsageRecord(api_key_id=new_id(), prompt_tokens=number) for number in range(100)]
        await asyncio.gather(*map(recorder.record, records[:50]))
        await recorder.flush()
        server.kill()
        try:
            await asyncio.gather(*map(recorder.record, records[50:]))
            await until(lambda: recorder.stats().last_error is not None)
            assert recorder.stats().backlog_records == 50
        finally:
            server.restart()
        await recorder.flush()
        stats = recorder.stats()
        assert (stats.shipped, stats.dropped, stats.last_error) == (100, 0, None)
        for record in records:
            assert (await db.usage.get_by_id(record.id)).prompt_tokens == record.prompt_tokens


async def test_a_recorder_works_before_the_database_can_be_opened(server: PostgresServer, journal: Path) -> None:
    server.create_database("late", "postgres")
    db = Database(server.url("late"))
    record = UsageRecord(api_key_id=new_id())
    server.kill()
    try:
        with pytest.raises(DatabaseUnavailableError):
            await db.open()
        recorder = db.recorder(journal)
        await recorder.record(record)
        await until(lambda: recorder.stats().last_error is not None)
    finally:
        server.restart()
    await db.open()
    await recorder.flush()
    assert (await db.usage.get_by_id(record.id)).id == record.id
    await db.close()
    assert recorder.stats().shipped == 1


async def test_closing_the_database_without_its_server_leaves_the_rest_in_the_journal(
    server: PostgresServer, journal: Path
) -> None:
    server.create_database("closing", "postgres")
    url = server.url("closing")
    db = Database(url)
    await db.open()
    recorder = db.recorder(journal)
    record = UsageRecord(api_key_id=new_id())
    server.kill()
    try:
        await recorder.record(record)
        async with asyncio.timeout(20):
            await db.close()
        assert recorder.stats().backlog_records == 1
    finally:
        server.restart()
    assert (await _ship(url, journal)).found == 1
    async with Database(url) as again:
        assert (await again.usage.get_by_id(record.id)).id == record.id


FULL_DISK = """
import asyncio, resource, signal, sys
from uuid import UUID
from gatewaydb import Database, UsageJournalError, UsageRecord

async def main():
    db = Database(sys.argv[1])
    recorder = db.recorder(sys.argv[2])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    done = 0
    try:
        while True:
            await recorder.record(UsageRecord(api_key_id=UUID(int=1), request_metadata={"text": "x" * 700}))
            done += 1
    except UsageJournalError as error:
        print(error, file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await recorder.record(UsageRecord(api_key_id=UUID(int=1)))
    print(done + 1)

asyncio.run(main())
"""


async def test_a_file_that_may_not_grow_is_a_clear_error_and_the_journal_stays_whole(
    sqlite_url: str, journal: Path
) -> None:
    command = [sys.executable, "-c", FULL_DISK, sqlite_url, str(journal)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == f"the journal {journal} cannot be written: File too large"
    acknowledged = int(done.stdout)
    assert acknowledged > 5
    stats = await _ship(sqlite_url, journal)
    assert stats.found == stats.shipped == acknowledged
    assert (stats.torn, stats.quarantined, stats.dropped) == (0, 0, 0)
