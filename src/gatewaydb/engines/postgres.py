"""The production engine: PostgreSQL 14 or later, through asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.base import (
    CREATE_BOOKKEEPING,
    MIGRATION_LOCK,
    READ_BOOKKEEPING,
    Engine,
    MigrationSession,
    PoolStats,
    Row,
    Transaction,
)
from gatewaydb.engines.changes import ChangeFeed
from gatewaydb.engines.postgres_changes import PostgresWatch
from gatewaydb.engines.postgres_errors import DRIVER_ERRORS, translated
from gatewaydb.engines.postgres_pool import PostgresPool
from gatewaydb.engines.statements import load_statements
from gatewaydb.errors import DatabaseUnavailableError, GatewayDBError

T = TypeVar("T")


class PostgresEngine(Engine):
    """An `Engine` on a pool of connections. What a caller cancels is cancelled at the server, too."""

    dialect = "postgres"
    watch: PostgresWatch
    writers = 2

    def __init__(self, config: DatabaseConfig, clock: Clock, feed: ChangeFeed) -> None:
        super().__init__(clock, feed)
        self._timeout_s = config.query_timeout.total_seconds()
        self._pool = PostgresPool(config, clock)
        self.watch = PostgresWatch(config, clock, feed, self._pool.connect_apart)

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._flush_groups()
        await self.watch.close()
        await self._pool.close()

    async def health(self) -> None:
        try:
            async with self._pool.connection() as connection:
                await _asked(connection.fetchval("SELECT 1", timeout=self._timeout_s))
        except GatewayDBError as error:
            raise DatabaseUnavailableError(str(error)) from error

    def stats(self) -> PoolStats:
        return self._pool.stats()

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        found = self._statement(statement)
        async with self._pool.connection() as connection:
            rows = await _asked(connection.fetch(found.sql, *found.bind(values), timeout=self._timeout_s))
        return [dict(row) for row in rows]

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        found = self._statement(statement)
        async with self._pool.connection() as connection:
            row = await _asked(connection.fetchrow(found.sql, *found.bind(values), timeout=self._timeout_s))
        return None if row is None else dict(row)

    async def execute(self, statement: str, **values: Any) -> int:
        found = self._statement(statement)
        async with self._pool.connection() as connection:
            return _affected(await _asked(connection.execute(found.sql, *found.bind(values), timeout=self._timeout_s)))

    @asynccontextmanager
    async def _new_transaction(self) -> AsyncIterator[Transaction]:
        async with self._pool.connection() as connection:
            try:
                yield PostgresTransaction(connection, self.clock, self._timeout_s, self.watch.origin)
            finally:
                # A rollback that did not get through leaves a connection that nobody may have.
                if not _is_lost(connection) and connection.is_in_transaction():
                    connection.terminate()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[MigrationSession]:
        # No timeout: twenty processes that start at once wait here until the first one is through.
        async with self._pool.connection() as connection:
            session = PostgresTransaction(connection, self.clock, None, "")
            async with session.run(self.feed):
                await session.run_script(f"{MIGRATION_LOCK};\n{CREATE_BOOKKEEPING}")
                yield session

    async def applied_migrations(self) -> list[tuple[int, str]]:
        async with self._pool.connection() as connection:
            if await _asked(connection.fetchval("SELECT to_regclass('schema_migrations')")) is None:
                return []
            return [tuple(row) for row in await _asked(connection.fetch(READ_BOOKKEEPING))]


class PostgresTransaction(Transaction):
    """A transaction that holds one connection; its statements run one after another, whichever task sends them."""

    dialect = "postgres"

    def __init__(self, connection: Any, clock: Clock, timeout_s: float | None, origin: str) -> None:
        super().__init__()
        self.clock = clock
        self._held = connection
        self._timeout_s = timeout_s
        self._statements = load_statements("postgres")
        self._turn = asyncio.Lock()
        self._origin = origin
        self._is_disowned = False

    @property
    def _connection(self) -> Any:
        self._require_open()
        if _is_lost(self._held):
            raise DatabaseUnavailableError("PostgreSQL: the connection of this transaction was lost")
        return self._held

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        found = self._statements[statement]
        return await self._fetch(found.sql, found.bind(values))

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        rows = await self.fetch_all(statement, **values)
        return rows[0] if rows else None

    async def execute(self, statement: str, **values: Any) -> int:
        found = self._statements[statement]
        return await self._execute(found.sql, found.bind(values))

    async def execute_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        found = self._statements[statement]
        batch = [found.bind(row) for row in rows]
        async with self._turn:
            await _asked(self._connection.executemany(found.sql, batch, timeout=self._timeout_s))

    async def fetch_sql(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        await self._disown()
        return await self._fetch(sql, arguments)

    async def execute_sql(self, sql: str, arguments: Sequence[Any]) -> int:
        await self._disown()
        return await self._execute(sql, arguments)

    async def control(self, sql: str) -> None:
        if sql == "BEGIN":
            sql = f"BEGIN; SET LOCAL gatewaydb.origin = '{self._origin}'"
        elif sql.startswith("ROLLBACK"):
            self._is_disowned = False  # the setting is undone, too
        await self._execute(sql, ())

    async def _disown(self) -> None:
        """What a caller's own SQL changes has to come back as if another process had done it."""
        self._connection.touch()
        if not self._is_disowned:
            await self._execute("SET LOCAL gatewaydb.origin = ''", ())
            self._is_disowned = True

    async def applied(self) -> list[tuple[int, str]]:
        """(version, checksum) of the migrations so far."""
        return [(row["version"], row["checksum"]) for row in await self._fetch(READ_BOOKKEEPING, ())]

    async def run_script(self, sql: str) -> None:
        """Several statements."""
        await self._execute(sql, ())

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        async with self._turn:
            rows = await _asked(self._connection.fetch(sql, *arguments, timeout=self._timeout_s))
        return [dict(row) for row in rows]

    async def _execute(self, sql: str, arguments: Sequence[Any]) -> int:
        async with self._turn:
            return _affected(await _asked(self._connection.execute(sql, *arguments, timeout=self._timeout_s)))


def _is_lost(connection: Any) -> bool:
    try:
        return bool(connection.is_closed())
    except DRIVER_ERRORS:
        return True  # it went back to the pool by itself, as closed ones do


async def _asked(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except DRIVER_ERRORS as error:
        raise translated(error) from None


def _affected(status: str) -> int:
    """`INSERT 0 5` is 5, `COMMIT` is 0."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
