"""The production engine: PostgreSQL 14 or later, through asyncpg."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from operator import itemgetter
from typing import Any

from msgspec.structs import replace

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
from gatewaydb.engines.postgres_errors import asked
from gatewaydb.engines.postgres_pool import CANCEL_GRACE_S, PostgresPool, is_lost
from gatewaydb.engines.postgres_replica import Replica
from gatewaydb.engines.statements import Statement, load_statements
from gatewaydb.errors import DatabaseUnavailableError, GatewayDBError

LOAD_MIN_ROWS = 250


class PostgresEngine(Engine):
    """An `Engine` on a pool of connections. What a caller cancels is cancelled at the server, too."""

    dialect = "postgres"
    load_min_rows = LOAD_MIN_ROWS
    writers = 2

    def __init__(self, config: DatabaseConfig, clock: Clock, feed: ChangeFeed) -> None:
        super().__init__(clock, feed)
        self._timeout_s = config.query_timeout.total_seconds()
        self._pool = PostgresPool(config, clock)
        self._replica = Replica(config, clock) if config.read_url else None

    async def _connect(self) -> None:
        await self._pool.open()
        if self._replica is not None:
            try:
                await self._replica.open()
            except BaseException:
                await self._pool.close(0)
                raise

    async def _disconnect(self, deadline: float) -> None:
        try:
            await self._pool.close(deadline)
        finally:
            if self._replica is not None:
                await self._replica.close(deadline)

    def _abandon(self) -> None:
        self._pool.abandon()
        if self._replica is not None:
            self._replica.abandon()

    async def health(self) -> None:
        self._home.require()
        try:
            async with self._pool.connection() as connection:
                await asked(connection.fetchval("SELECT 1", timeout=self._timeout_s))
        except GatewayDBError as error:
            raise DatabaseUnavailableError(str(error)) from error

    def stats(self) -> PoolStats:
        stats = self._pool.stats()
        return stats if self._replica is None else replace(stats, replica_fallbacks=self._replica.fallbacks)

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        found = self._statement(statement)
        arguments = found.bind(values)
        rows = await self._report(found, arguments) if found.is_report else None
        if rows is None:
            rows = await self._pool.fetch(found.sql, arguments)
        return [dict(row) for row in rows]

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        found = self._statement(statement)
        if found.is_report:
            rows = await self.fetch_all(statement, **values)
            return rows[0] if rows else None
        async with self._pool.connection() as connection:
            row = await asked(connection.fetchrow(found.sql, *found.bind(values), timeout=self._timeout_s))
        return None if row is None else dict(row)

    async def _report(self, found: Statement, arguments: Sequence[Any]) -> Sequence[Any] | None:
        """The replica's rows; None where the primary is to be asked."""
        if self._replica is None or self.transaction_of_task is not None:
            return None
        return await self._replica.fetch(found.sql, arguments)

    async def execute(self, statement: str, **values: Any) -> int:
        found = self._statement(statement)
        async with self._pool.connection() as connection:
            return _affected(await asked(connection.execute(found.sql, *found.bind(values), timeout=self._timeout_s)))

    @asynccontextmanager
    async def _new_transaction(self) -> AsyncIterator[Transaction]:
        async with self._pool.connection() as connection:
            try:
                yield PostgresTransaction(connection, self.clock, self._timeout_s)
            finally:
                # A rollback that did not get through leaves a connection that nobody may have.
                if not is_lost(connection) and connection.is_in_transaction():
                    connection.terminate()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[MigrationSession]:
        self._home.require()
        # No timeout: twenty processes that start at once wait here until the first one is through.
        async with self._pool.connection() as connection:
            session = PostgresTransaction(connection, self.clock, None)
            async with session.run(self.feed):
                await session.run_script(f"{MIGRATION_LOCK};\n{CREATE_BOOKKEEPING}")
                yield session

    async def applied_migrations(self) -> list[tuple[int, str]]:
        self._home.require()
        async with self._pool.connection() as connection:
            if await asked(connection.fetchval("SELECT to_regclass('schema_migrations')")) is None:
                return []
            return [tuple(row) for row in await asked(connection.fetch(READ_BOOKKEEPING))]


class PostgresTransaction(Transaction):
    """A transaction that holds one connection; its statements run one after another, whichever task sends them."""

    dialect = "postgres"
    load_min_rows = LOAD_MIN_ROWS

    def __init__(self, connection: Any, clock: Clock, timeout_s: float | None) -> None:
        super().__init__()
        self.clock = clock
        self._held = connection
        self._timeout_s = timeout_s
        self._statements = load_statements("postgres")
        self._turn = asyncio.Lock()

    @property
    def _connection(self) -> Any:
        self._require_open()
        if is_lost(self._held):
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
        return await self._execute(found.sql, found.bind(values), self._timeout_s)

    async def execute_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        found = self._statements[statement]
        batch = [found.bind(row) for row in rows]
        async with self._turn:
            await asked(self._connection.executemany(found.sql, batch, timeout=self._timeout_s))

    async def load(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> int:
        table, columns = self._statements[statement].copied
        pick = itemgetter(*columns)
        async with self._turn:
            loading = self._connection.copy_records_to_table(
                table, columns=columns, records=map(pick, rows), timeout=self._timeout_s
            )
            return _affected(await asked(loading))

    async def fetch_sql(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        self._connection.touch()
        return await self._fetch(sql, arguments)

    async def execute_sql(self, sql: str, arguments: Sequence[Any]) -> int:
        self._connection.touch()
        return await self._execute(sql, arguments, self._timeout_s)

    async def control(self, sql: str) -> None:
        await self._execute(sql, (), self._timeout_s)

    async def _undo(self, sql: str) -> None:
        # A server that does not cancel a statement in time does not roll back, either.
        with suppress(GatewayDBError):
            await self._execute(sql, (), min(self._timeout_s or CANCEL_GRACE_S, CANCEL_GRACE_S))

    async def applied(self) -> list[tuple[int, str]]:
        """(version, checksum) of the migrations so far."""
        return [(row["version"], row["checksum"]) for row in await self._fetch(READ_BOOKKEEPING, ())]

    async def run_script(self, sql: str) -> None:
        """Several statements."""
        await self._execute(sql, (), self._timeout_s)

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        async with self._turn:
            rows = await asked(self._connection.fetch(sql, *arguments, timeout=self._timeout_s))
        return [dict(row) for row in rows]

    async def _execute(self, sql: str, arguments: Sequence[Any], timeout_s: float | None) -> int:
        async with self._turn:
            return _affected(await asked(self._connection.execute(sql, *arguments, timeout=timeout_s)))


def _affected(status: str) -> int:
    """`INSERT 0 5` is 5, `COMMIT` is 0."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
