# ruff: noqa: ASYNC240, ASYNC220 - a test has nobody else to wait for it
"""An SQLite file that is locked, full, gone or none: a clear error in time, and nothing half-written."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatewaydb import (
    APIKeyNotFoundError,
    Database,
    DatabaseConfig,
    DatabaseUnavailableError,
    Provider,
    QueryTimeoutError,
    UsageRecord,
)
from gatewaydb.entities.base import new_id
from tests.conftest import MakeDatabase

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("free", flush=True)
"""


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@contextmanager
def _locked(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process writes, until a line is sent to it or the block ends."""
    command = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.communicate("\n")


async def test_a_lock_of_another_process_is_a_timeout_in_time_and_reads_go_on(
    make_database: MakeDatabase, path: Path
) -> None:
    db = await make_database(query_timeout="300ms")
    await db.providers.create(Provider(name="before"))
    with _locked(path):
        start = time.monotonic()
        with pytest.raises(QueryTimeoutError, match="another process"):
            await db.providers.create(Provider(name="in vain"))
        assert 0.25 < time.monotonic() - start < 10
        assert [provider.name for provider in await db.providers.list()] == ["before"]
        await db.health()
    await db.providers.create(Provider(name="after"))
    assert [provider.name for provider in await db.providers.list()] == ["after", "before"]


async def test_a_writer_goes_on_once_the_other_process_is_done(make_database: MakeDatabase, path: Path) -> None:
    db = await make_database(query_timeout="1m")
    with _locked(path) as process:
        writes = [asyncio.create_task(db.providers.create(Provider(name=f"{n}"))) for n in range(5)]
        done, _ = await asyncio.wait(writes, timeout=0.1)
        assert not done
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        await asyncio.gather(*writes)
    assert len(await db.providers.list()) == 5


async def test_opening_waits_for_a_lock_no_longer_than_query_timeout(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    with _locked(path):
        start = time.monotonic()
        with pytest.raises(QueryTimeoutError):
            await Database(f"sqlite:///{path}?query_timeout=300ms").open()
        assert time.monotonic() - start < 10
    async with Database(f"sqlite:///{path}") as db:
        await db.health()


async def test_a_file_that_was_removed_is_unavailable(make_database: MakeDatabase, path: Path) -> None:
    db = await make_database()
    path.unlink()
    with pytest.raises(DatabaseUnavailableError, match="gone"):
        await db.health()


async def test_nothing_is_acknowledged_that_went_into_a_removed_file(make_database: MakeDatabase, path: Path) -> None:
    db = await make_database()
    path.unlink()
    with pytest.raises(DatabaseUnavailableError, match="gone"):
        await db.usage.create(UsageRecord(api_key_id=new_id()))


@pytest.mark.parametrize(
    "content", [b"This is no database, but a text that is long enough. " * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(DatabaseUnavailableError, match=r"not a database|malformed"):
        await Database(f"sqlite:///{path}").open()
    assert path.read_bytes() == content


@pytest.mark.parametrize("place", ["missing/folder/gateway.db", "file/gateway.db", "."])
async def test_a_place_where_no_file_can_be_is_unavailable(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailableError, match="unable to open"):
        await Database(f"sqlite:///{tmp_path / place}").open()


async def test_a_database_of_another_program_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE api_keys (mine)")
    connection.close()
    with pytest.raises(Exception, match="api_keys"):
        await Database(f"sqlite:///{path}").open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("api_keys",)]
    connection.close()


async def test_a_full_disk_is_a_clear_error_and_nothing_is_half_written(db: Database) -> None:
    key_id = new_id()
    records = [UsageRecord(api_key_id=key_id, prompt_tokens=1, endpoint="x" * 200) for _ in range(1000)]
    at = records[0].request_timestamp
    await db.usage.create_many(records[:10])
    async with db.transaction() as tx:
        (size,) = await tx.fetch("PRAGMA page_count")
        await tx.fetch(f"PRAGMA max_page_count = {size['page_count'] + 5}")
    with pytest.raises(DatabaseUnavailableError, match="full"):
        await db.usage.create_many(records)
    with pytest.raises(DatabaseUnavailableError, match="full"):
        await _in_one_transaction(db, records)
    summary = await db.monthly_summaries.get_by_api_key_and_month(key_id, at.year, at.month)
    assert summary.total_requests == 10
    async with db.transaction() as tx:
        assert await tx.fetch("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
        await tx.fetch("PRAGMA max_page_count = 1000000")
    assert await db.usage.create_many(records) == 990


async def _in_one_transaction(db: Database, records: list[UsageRecord]) -> None:
    async with db.transaction() as tx:
        await tx.providers.create(Provider(name="in vain"))
        for record in records:
            await tx.usage.create(record)


async def test_a_page_that_was_overwritten_is_unavailable_and_not_not_found(config: DatabaseConfig, path: Path) -> None:
    async with Database(config) as db:
        for _ in range(50):
            await db.api_keys.issue("x" * 200)
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xde\xad" * ((len(whole) - 8192) // 2))
    with pytest.raises(DatabaseUnavailableError, match=r"malformed|corrupt"):
        async with Database(config) as db:
            await db.api_keys.get_by_hash("a")


async def test_what_was_committed_is_there_after_a_kill(config: DatabaseConfig, path: Path) -> None:
    command = [sys.executable, "-c", WRITE, config.url or ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(50)]
        process.kill()
    async with Database(config) as db:
        for key_hash in acknowledged:
            await db.api_keys.get_by_hash(key_hash)
        with pytest.raises(APIKeyNotFoundError):
            await db.api_keys.get_by_hash("never")


WRITE = """
import asyncio, sys
from gatewaydb import Database

async def main() -> None:
    async with Database(sys.argv[1]) as db:
        while True:
            key, _ = await db.api_keys.issue("a")
            print(key.key_hash, flush=True)

asyncio.run(main())
"""
