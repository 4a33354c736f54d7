import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gatewaydb import Database, DatabaseUnavailableError, GatewayDBError, SchemaVersionError
from gatewaydb.engines import migration_script, migrations
from gatewaydb.engines.migrations import Migration, packaged_migrations
from gatewaydb.engines.statements import DIALECTS, Dialect
from tests.postgres_server import RunningPostgres

PROCESSES = 20
MIGRATE = """
import asyncio, sys
from gatewaydb import Database

async def main() -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    database = Database(sys.argv[1])
    print(*await database.migrate())
    async with database:
        await database.api_keys.list()

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that has nothing in it; the SQLite file does not even exist."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


@pytest.fixture
def by_hand(postgres: RunningPostgres) -> Callable[[str, str], None]:
    """Runs a script as an operator would: with psql, or in SQLite's shell."""

    def run(url: str, script: str) -> None:
        if url.startswith("sqlite:"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"))
            connection.executescript(script)
            connection.close()
        else:
            postgres.psql(script, urlsplit(url).path[1:])

    return run


def _dialect(url: str) -> Dialect:
    return "sqlite" if url.startswith("sqlite:") else "postgres"


async def test_migrating_is_done_once(empty_url: str) -> None:
    names = [migration.name for migration in packaged_migrations(_dialect(empty_url))]
    before = await Database(empty_url).schema_status()
    assert (before.current, before.expected) == (0, len(names))
    assert [migration.name for migration in before.pending] == names
    assert await Database(empty_url).migrate() == names
    assert await Database(empty_url).migrate() == []
    after = await Database(empty_url).schema_status()
    assert (after.current, after.pending) == (len(names), ())
    async with Database(empty_url) as db:
        await db.api_keys.issue("a")


def test_twenty_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    command = [sys.executable, "-c", MIGRATE, empty_url]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    outputs = [process.communicate(timeout=120) for process in _let_go(started)]
    assert [error for _, error in outputs if error] == []
    applied = [printed.split() for printed, _ in outputs if printed.strip()]
    assert applied == [[migration.name for migration in packaged_migrations(_dialect(empty_url))]]


def _let_go(started: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return started


async def test_one_process_may_migrate_many_times_at_once(empty_url: str) -> None:
    applied = await asyncio.gather(*(Database(empty_url).migrate() for _ in range(10)))
    assert sorted(map(len, applied)) == [0] * 9 + [len(packaged_migrations(_dialect(empty_url)))]


async def test_a_new_sqlite_file_is_made_on_open(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    await asyncio.gather(*(_open_and_close(url) for _ in range(10)))
    assert (await Database(url).schema_status()).pending == ()


async def test_an_empty_postgresql_says_what_to_run(empty_postgres_url: str) -> None:
    with pytest.raises(SchemaVersionError, match="run: gatewaydb migrate"):
        await Database(empty_postgres_url).open()


SPOILS = {
    "newer": ("INSERT INTO schema_migrations VALUES (9999, '9999_later', 'x', '2026-01-01')", "9999.*run: pip install"),
    "edited": ("UPDATE schema_migrations SET checksum = 'edited' WHERE version = 1", "migration 1 .*0001_initial"),
}


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_schema_of_another_version_does_not_open(
    empty_url: str, by_hand: Callable[[str, str], None], spoil: str
) -> None:
    sql, message = SPOILS[spoil]
    await Database(empty_url).migrate()
    by_hand(empty_url, sql)
    for call in (Database(empty_url).open, Database(empty_url).migrate, Database(empty_url).schema_status):
        with pytest.raises(SchemaVersionError, match=message):
            await call()


async def test_an_older_schema_does_not_open_and_says_what_to_run(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Database(empty_url).migrate()
    present = packaged_migrations(_dialect(empty_url))
    version = len(present) + 1
    later = Migration(version, f"{version:04}_later", "CREATE TABLE later (n integer);\n", "checksum")
    monkeypatch.setattr(migrations, "packaged_migrations", lambda _: (*present, later))
    with pytest.raises(SchemaVersionError, match=f"needs {version}; run: gatewaydb migrate"):
        await Database(empty_url).open()
    assert (await Database(empty_url).schema_status()).pending == (later,)
    assert await Database(empty_url).migrate() == [later.name]
    async with Database(empty_url) as db, db.transaction() as tx:
        assert await tx.fetch("SELECT * FROM later") == []


async def test_the_script_applied_by_hand_gives_a_database_that_opens(
    empty_url: str, by_hand: Callable[[str, str], None]
) -> None:
    by_hand(empty_url, migration_script(_dialect(empty_url)))
    assert (await Database(empty_url).schema_status()).pending == ()
    async with Database(empty_url) as db:
        key, secret = await db.api_keys.issue("a")
        assert (await db.api_keys.authenticate(secret)).id == key.id


async def test_a_script_after_the_latest_version_changes_nothing(
    empty_url: str, by_hand: Callable[[str, str], None]
) -> None:
    dialect = _dialect(empty_url)
    await Database(empty_url).migrate()
    by_hand(empty_url, migration_script(dialect, after=packaged_migrations(dialect)[-1].version))
    assert (await Database(empty_url).schema_status()).pending == ()


async def test_a_migration_that_fails_leaves_nothing(empty_url: str, by_hand: Callable[[str, str], None]) -> None:
    by_hand(empty_url, "CREATE TABLE usage_records (mine integer)")
    with pytest.raises(GatewayDBError, match="usage_records"):
        await Database(empty_url).migrate()
    by_hand(empty_url, "DROP TABLE usage_records")
    assert len(await Database(empty_url).migrate()) == len(packaged_migrations(_dialect(empty_url)))


def test_migrations_are_numbered_without_gaps() -> None:
    for dialect in DIALECTS:
        versions = [migration.version for migration in packaged_migrations(dialect)]
        assert versions == list(range(1, len(versions) + 1))
    assert len(packaged_migrations("sqlite")) == len(packaged_migrations("postgres"))


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    for call in ("open", "migrate", "schema_status"):
        with pytest.raises(DatabaseUnavailableError):
            await getattr(Database("postgresql://nobody@127.0.0.1:1/none"), call)()


async def _open_and_close(url: str) -> None:
    async with Database(url):
        pass
