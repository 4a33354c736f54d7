"""What all tests share: one PostgreSQL for the session, a fresh database for each test, and a clock to move by hand."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gatewaydb import Database, DatabaseConfig
from gatewaydb.clock import SYSTEM_CLOCK
from gatewaydb.config import ENVIRONMENT
from tests.clock import ManualClock
from tests.postgres_server import RunningPostgres, postgres_for_tests

# What this machine has set for its own databases is no business of a test, nor of a process that a test starts.
for variable in [name for name in os.environ if name.startswith("PG") or name in ENVIRONMENT]:
    del os.environ[variable]

MakeDatabase = Callable[..., Awaitable[Database]]
ENCRYPTION_KEY = "b25seS1mb3ItdGVzdHMtb25seS1mb3ItdGVzdHMtMTI="


@pytest.fixture(scope="session")
def postgres() -> Iterator[RunningPostgres]:
    """The session's PostgreSQL. Nobody kills, pauses or reconfigures it: start a `PostgresServer` for that."""
    with postgres_for_tests() as server:
        yield server


class PostgresDatabases:
    """Migrated, empty databases. A copy of a template takes 80 to 200 ms and emptying takes 20, so they are reused."""

    def __init__(self, postgres: RunningPostgres) -> None:
        self._postgres = postgres
        self._names: list[str] = []
        self._free: list[str] = []
        self._template = self._create("template1")
        asyncio.run(_prepare(postgres.url(self._template)))
        self._partitions = postgres.psql(PARTITIONS, self._template)
        self._schema = postgres.psql(SCHEMA, self._template)

    def take(self) -> str:
        """The name of a database that nobody else has."""
        return self._free.pop() if self._free else self._create(self._template)

    def give_back(self, name: str) -> None:
        """Empties it for the next test. One whose schema a test has changed serves no other."""
        empty = EMPTY.replace("{kept}", self._partitions)
        if self._postgres.psql(empty + SCHEMA, name) == self._schema:
            self._free.append(name)

    def drop_partitions(self, name: str) -> None:
        """Makes it one that nobody has opened yet: usage has its default partition only."""
        self._postgres.psql(EMPTY.replace("{kept}", "usage_records_default"), name)

    def close(self) -> None:
        """Leaves nothing on a server that may not be ours."""
        for name in self._names:
            self._postgres.drop_database(name)

    def _create(self, template: str) -> str:
        name = f"gatewaydb_test_{uuid4().hex[:8]}"
        self._postgres.create_database(name, template)
        self._names.append(name)
        return name


async def _prepare(url: str) -> None:
    # With the partitions that nearly all tests need: making them takes longer than most tests.
    await Database(url).migrate()
    for clock in (SYSTEM_CLOCK, ManualClock()):
        async with Database(url, clock=clock):
            pass


PARTITIONS = """
SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY inhrelid::regclass::text)
FROM pg_inherits WHERE inhparent = 'usage_records'::regclass;
"""
# Ends whatever a test left connected, so that nothing blocks or is blocked; then drops partitions that the template has
# not, and truncates what is not empty. That is added to the log of changes, which may have any past.
EMPTY = """
DO $$
DECLARE
    name text;
    has_rows boolean;
BEGIN
    PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN
        SELECT inhrelid::regclass::text FROM pg_inherits
        WHERE inhparent = 'usage_records'::regclass AND inhrelid::regclass::text <> ALL (string_to_array('{kept}', ' '))
    LOOP
        EXECUTE 'DROP TABLE ' || name;
    END LOOP;
    FOR name IN
        SELECT format('%I', tablename) FROM pg_tables
        WHERE schemaname = 'public' AND tablename NOT IN ('schema_migrations', 'cache_changes')
    LOOP
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || name || ')' INTO has_rows;
        IF has_rows THEN EXECUTE 'TRUNCATE ' || name || ' CASCADE'; END IF;
    END LOOP;
END $$;
"""
SCHEMA = """
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2;
SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2;
SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' ORDER BY 1, 2;
SELECT version, checksum FROM schema_migrations ORDER BY 1;
"""


@pytest.fixture(scope="session")
def postgres_databases(postgres: RunningPostgres) -> Iterator[PostgresDatabases]:
    """Where `postgres_url` has its databases from."""
    databases = PostgresDatabases(postgres)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty file, for others to be copied from."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(Database(f"sqlite:///{path}").migrate())
    return path


@pytest.fixture
def postgres_url(postgres: RunningPostgres, postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A migrated, empty PostgreSQL database of this test's own."""
    name = postgres_databases.take()
    yield postgres.url(name)
    postgres_databases.give_back(name)


@pytest.fixture
def unpartitioned_postgres_url(postgres_databases: PostgresDatabases, postgres_url: str) -> str:
    """As `postgres_url`, before anybody has opened it."""
    postgres_databases.drop_partitions(postgres_url.rpartition("/")[2].partition("?")[0])
    return postgres_url


@pytest.fixture
def empty_postgres_url(postgres: RunningPostgres) -> Iterator[str]:
    """A PostgreSQL database of this test's own, without any table."""
    name = f"gatewaydb_empty_{uuid4().hex[:8]}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated, empty SQLite database of this test's own."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'gateway.db')}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database, on each engine in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def config(database_url: str) -> DatabaseConfig:
    """How `db` and `make_database` open the database. A module, class or test overrides it for other settings."""
    return DatabaseConfig(url=database_url, encryption_keys=ENCRYPTION_KEY)


@pytest.fixture
async def make_database(config: DatabaseConfig) -> AsyncIterator[MakeDatabase]:
    """Opens one more `Database` on the same database: `await make_database(clock=clock, query_timeout="1s")`.

    `clock` apart, the names are settings that differ from `config`. All are closed when the test ends.
    """
    async with AsyncExitStack() as opened:

        async def make(*, clock: ManualClock | None = None, **settings: Any) -> Database:
            with_clock = {} if clock is None else {"clock": clock}
            return await opened.enter_async_context(Database(replace(config, **settings), **with_clock))

        yield make


@pytest.fixture
async def db(make_database: MakeDatabase) -> Database:
    """An open database."""
    return await make_database()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until `advance`."""
    return ManualClock()
