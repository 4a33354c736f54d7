"""The production engine: PostgreSQL 14 or later, through asyncpg."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
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
    MigrationSession,
    PoolStats,
    Row,
)
from gatewaydb.engines.changes import ChangeFeed
from gatewaydb.engines.engine import Engine, close_each
from gatewaydb.engines.postgres_changes import PostgresWatch
from gatewaydb.engines.postgres_copy import CSV, csv_blocks
from gatewaydb.engines.postgres_errors import DRIVER_ERRORS, asked, translating
from gatewaydb.engines.postgres_pool import CANCEL_GRACE_S, PostgresPool, is_lost
from gatewaydb.engines.postgres_replica import Replica
from gatewaydb.engines.statements import Statement, load_statements
from gatewaydb.engines.transaction import Transaction
from gatewaydb.errors import DatabaseUnavailableError, GatewayDBError

LOAD_MIN_ROWS = 250


class PostgresEngine(Engine):
    """An `Engine` on a pool of connections. What a caller cancels is cancelled at the server, too."""

    dialect = "postgres"
    load_min_rows = LOAD_MIN_ROWS
    watch: PostgresWatch
    writers = 2

    def __init__(self, config: DatabaseConfig, clock: Clock, feed: ChangeFeed) -> None:
        super().__init__(clock, feed)
        # A flood of misses leaves most connections to others, and two keep server and client busy at the same time.
        self.queries_at_once = min(2, max(1, config.max_open_conns // 4))
        self._timeout_s = config.query_timeout.total_seconds()
        self._pool = PostgresPool(config, clock)
        self._replica = Replica(config, clock) if config.read_url else None
        self._streaming: set[Any] = set()
        self.watch = PostgresWatch(config, clock, feed, self._pool.connect_apart)

    async def _connect(self) -> None:
        await self._pool.open()
        if self._replica is not None:
            try:
                await self._replica.open()
            except BaseException:
                await self._pool.close(0)
                raise

    async def _disconnect(self, deadline: float) -> None:
        for connection in self._streaming:
            connection.terminate()
        replicas = () if self._replica is None else (self._replica.close,)
        await close_each(deadline, lambda _: self.watch.close(), self._pool.close, *replicas)

    def _abandon(self) -> None:
        self.watch.abandon()
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
        for reader in self._readers:
            reader.breaker.close()

    def stats(self) -> PoolStats:
        stats = self._pool.stats()
        return stats if self._replica is None else replace(stats, replica_fallbacks=self._replica.fallbacks)

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        found = self._statement(statement)
        arguments = found.bind(values)
        rows = await self._report(found, arguments) if found.is_report else None
        if rows is None:
            rows = await self._pool.fetch(found.sql, arguments)
            self._note_answer()
        return [dict(row) for row in rows]

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        found = self._statement(statement)
        if found.is_report:
            rows = await self.fetch_all(statement, **values)
            return rows[0] if rows else None
        async with self._pool.connection() as connection:
            row = await asked(connection.fetchrow(found.sql, *found.bind(values), timeout=self._timeout_s))
        self._note_answer()
        return None if row is None else dict(row)

    async def _report(self, found: Statement, arguments: Sequence[Any]) -> Sequence[Any] | None:
        """The replica's rows; None where the primary is to be asked."""
        if self._replica is None or self.transaction_of_task is not None:
            return None
        return await self._replica.fetch(found.sql, arguments)

    async def execute(self, statement: str, **values: Any) -> int:
        found = self._statement(statement)
        async with self._pool.connection() as connection:
            status = await asked(connection.execute(found.sql, *found.bind(values), timeout=self._timeout_s))
        self._note_answer()
        return _affected(status)

    async def stream(self, statement: str, rows_at_a_time: int, **values: Any) -> AsyncGenerator[list[Row], None]:
        found, timeout_s = self._statement(statement), self._timeout_s
        async with self._transactional() as connection:
            with translating():
                snapshot = connection.transaction(isolation="repeatable_read", readonly=True)
                await asyncio.wait_for(snapshot.start(), timeout_s)
                self._streaming.add(connection)
                try:
                    query = await connection.prepare(found.sql, timeout=timeout_s)
                    cursor = await query.cursor(*found.bind(values), timeout=timeout_s)
                    while rows := await cursor.fetch(rows_at_a_time, timeout=timeout_s):
                        yield [dict(row) for row in rows]
                finally:
                    self._streaming.discard(connection)
                    with suppress(*DRIVER_ERRORS):
                        await asyncio.wait_for(snapshot.rollback(), timeout_s)

    @asynccontextmanager
    async def _new_transaction(self) -> AsyncIterator[Transaction]:
        async with self._transactional() as connection:
            yield PostgresTransaction(connection, self.clock, self._timeout_s, self.watch.origin)

    @asynccontextmanager
    async def _transactional(self) -> AsyncIterator[Any]:
        async with self._pool.connection() as connection:
            try:
                yield connection
            finally:
                # A rollback that did not get through leaves a connection that nobody may have.
                if not is_lost(connection) and connection.is_in_transaction():
                    connection.terminate()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[MigrationSession]:
        self._home.require()
        # No timeout: twenty processes that start at once wait here until the first one is through.
        async with self._pool.connection() as connection:
            session = PostgresTransaction(connection, self.clock, None, "")
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
        blocks = csv_blocks(map(itemgetter(*columns), rows))
        async with self.transaction(), self._turn:
            loading = self._connection.copy_to_table(
                table, columns=columns, source=blocks, timeout=self._timeout_s, **CSV
            )
            return _affected(await asked(loading))

    async def fetch_sql(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        await self._disown()
        return await self._fetch(sql, arguments)

    async def execute_sql(self, sql: str, arguments: Sequence[Any]) -> int:
        await self._disown()
        return await self._execute(sql, arguments, self._timeout_s)

    async def control(self, sql: str) -> None:
        if sql == "BEGIN":
            sql = f"BEGIN; SET LOCAL gatewaydb.origin = '{self._origin}'"
        await self._execute(sql, (), self._timeout_s)

    async def _undo(self, sql: str) -> None:
        self._is_disowned = False  # the setting is undone, too
        # A server that does not cancel a statement in time does not roll back, either.
        with suppress(GatewayDBError):
            await self._execute(sql, (), min(self._timeout_s or CANCEL_GRACE_S, CANCEL_GRACE_S))

    async def _disown(self) -> None:
        """What a caller's own SQL changes has to come back as if another process had done it."""
        self._connection.touch()
        if not self._is_disowned:
            await self._execute("SET LOCAL gatewaydb.origin = ''", (), self._timeout_s)
            self._is_disowned = True

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
