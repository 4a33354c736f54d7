"""The embedded engine: one SQLite file in WAL mode.

Point reads run right on the event loop's thread, where they take some 15 us; a thread would cost ten times that. Other
reads have a thread and a connection of their own, and so have the writes, of which SQLite allows one at a time.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.base import CREATE_BOOKKEEPING, READ_BOOKKEEPING, MigrationSession, PoolStats, Row
from gatewaydb.engines.changes import ChangeFeed, NotConnectedError
from gatewaydb.engines.engine import Engine, close_each
from gatewaydb.engines.home import NOT_OPEN
from gatewaydb.engines.sqlite_changes import SQLiteWatch
from gatewaydb.engines.sqlite_connection import Fetched, bound, connect_reader, connect_writer, run, typed_rows
from gatewaydb.engines.sqlite_errors import translated
from gatewaydb.engines.sqlite_transaction import LOAD_MIN_ROWS, SQLiteTransaction
from gatewaydb.engines.sqlite_worker import SQLiteWorker
from gatewaydb.engines.transaction import Transaction
from gatewaydb.errors import ConfigurationError, DatabaseUnavailableError, GatewayDBError

OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_CONNECTIONS = 3


class SQLiteEngine(Engine):
    """An `Engine` on `config.sqlite_path`; without a path on a private temporary file, which is gone on close."""

    dialect = "sqlite"
    load_min_rows = LOAD_MIN_ROWS
    watch: SQLiteWatch
    writers = 1
    queries_at_once = 0  # a point read runs on the loop's thread: there is none to wait for

    def __init__(self, config: DatabaseConfig, clock: Clock, feed: ChangeFeed) -> None:
        super().__init__(clock, feed)
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old; 3.37 or later is needed")
        self._config = config
        self._path = config.sqlite_path or ""
        self._folder: str | None = None
        self._reader: sqlite3.Connection | None = None
        self._workers: tuple[SQLiteWorker, ...] = ()
        self._streamers: set[SQLiteWorker] = set()
        self.watch = SQLiteWatch(lambda: self._reader, clock, feed)

    async def _connect(self) -> None:
        if self._config.sqlite_path is None:
            self._folder = tempfile.mkdtemp(prefix="gatewaydb-")
            self._path = str(Path(self._folder) / "memory.db")
        self._workers = self._new_worker("writer", connect_writer), self._new_worker("scanner", connect_reader)
        try:
            for worker in self._workers:
                await worker.open()
            self._reader = connect_reader(self._path, self._config.query_timeout)
        except sqlite3.Error as error:
            raise translated(error) from None
        finally:
            if self._reader is None:
                await self._disconnect(0)

    def _new_worker(self, name: str, connect: Callable[[str, timedelta], sqlite3.Connection]) -> SQLiteWorker:
        timeout = self._config.query_timeout
        return SQLiteWorker(name, lambda: connect(self._path, timeout), timeout, self.clock)

    async def _disconnect(self, deadline: float) -> None:
        await self.watch.close()
        self._close_reader()
        # The writer ends last: the last connection of a file folds its WAL back in.
        workers = (*self._streamers, *reversed(self._workers))
        try:
            await close_each(deadline, *(worker.close for worker in workers))
        finally:
            self._workers = ()
            self._remove_folder()

    def _abandon(self) -> None:
        self.watch.abandon()
        with suppress(sqlite3.ProgrammingError):  # only the thread that made it may close it; else it is collected
            self._close_reader()
        for worker in (*self._streamers, *reversed(self._workers)):
            worker.abandon()
        self._workers = ()
        self._remove_folder()

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _remove_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    async def health(self) -> None:
        self._home.require()
        try:
            self._point("SELECT count(*) FROM sqlite_schema")
        except GatewayDBError as error:
            raise DatabaseUnavailableError(str(error)) from error
        self._require_file()

    def _require_file(self) -> None:
        # SQLite itself goes on writing to a file that was removed, and makes a new one for a new connection.
        if not Path(self._path).exists():
            raise DatabaseUnavailableError("SQLite: the database file is gone")

    def stats(self) -> PoolStats:
        is_open = self._reader is not None
        in_use = sum(worker.is_busy for worker in self._workers) + len(self._streamers)
        connections = _CONNECTIONS + len(self._streamers) if is_open else 0
        return PoolStats(
            max_open_connections=self._config.max_open_conns,
            open_connections=connections,
            in_use=in_use,
            idle=connections - in_use if is_open else 0,
            wait_count=sum(worker.wait_count for worker in self._workers),
            wait_duration=timedelta(seconds=sum(worker.wait_s for worker in self._workers)),
            max_idle_closed=0,
            max_lifetime_closed=0,
        )

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        found = self._statement(statement)
        arguments = bound(found, values)
        if found.is_point:
            return typed_rows(found, self._point(found.sql, arguments))
        worker = self._scanner if found.is_read else self._writer
        return typed_rows(found, await self._on(worker, found.sql, arguments))

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        found = self._statement(statement)
        if found.is_point:
            rows = typed_rows(found, self._point(found.sql, bound(found, values)))
        else:
            rows = await self.fetch_all(statement, **values)
        return rows[0] if rows else None

    async def execute(self, statement: str, **values: Any) -> int:
        found = self._statement(statement)
        arguments = bound(found, values)
        return (await self._on(self._writer, found.sql, arguments)).changed

    async def stream(self, statement: str, rows_at_a_time: int, **values: Any) -> AsyncGenerator[list[Row], None]:
        found = self._statement(statement)
        arguments = bound(found, values)
        timeout_s = self._config.query_timeout.total_seconds()
        async with self._streamer() as worker:

            def begin(connection: sqlite3.Connection) -> sqlite3.Cursor:
                return connection.execute(found.sql, arguments)

            def fetch(_: sqlite3.Connection) -> list[Row]:
                return typed_rows(found, Fetched(cursor.description, cursor.fetchmany(rows_at_a_time), 0))

            cursor = await worker.run_when_free(begin, found.sql, timeout_s)
            while rows := await worker.run_when_free(fetch, found.sql, timeout_s):
                yield rows

    @asynccontextmanager
    async def _streamer(self) -> AsyncIterator[SQLiteWorker]:
        # A connection of its own: nobody waits for what is half read, and it sees nothing that is written meanwhile.
        if self._reader is None:
            raise NotConnectedError(NOT_OPEN)
        self._require_file()
        worker = self._new_worker("streamer", connect_reader)
        self._streamers.add(worker)
        try:
            await worker.open()
            yield worker
        finally:
            self._streamers.discard(worker)
            await worker.close(0)

    async def _on(self, worker: SQLiteWorker, sql: str, arguments: list[Any]) -> Fetched:
        timeout_s = self._config.query_timeout.total_seconds()
        async with worker.exclusive():
            return await worker.run_when_free(lambda connection: run(connection, sql, arguments), sql, timeout_s)

    @asynccontextmanager
    async def _new_transaction(self) -> AsyncIterator[Transaction]:
        writer = self._writer
        async with writer.exclusive():
            timeout_s = self._config.query_timeout.total_seconds()
            yield SQLiteTransaction(writer, self.clock, timeout_s, self.watch.skip)

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[MigrationSession]:
        self._home.require()
        writer = self._writer
        async with writer.exclusive():
            # No timeout: twenty processes that start at once wait here until the first one is through.
            session = SQLiteTransaction(writer, self.clock, None)
            async with session.run(self.feed):
                await session.run_script(CREATE_BOOKKEEPING)
                yield session

    async def applied_migrations(self) -> list[tuple[int, str]]:
        self._home.require()
        if not self._point("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").rows:
            return []
        return [(version, checksum) for version, checksum in self._point(READ_BOOKKEEPING).rows]

    def _point(self, sql: str, arguments: list[Any] | tuple[()] = ()) -> Fetched:
        if self._reader is None:
            raise NotConnectedError(NOT_OPEN)
        try:
            return run(self._reader, sql, arguments)
        except sqlite3.Error as error:
            raise translated(error, sql) from error

    @property
    def _writer(self) -> SQLiteWorker:
        if self._reader is None:
            raise NotConnectedError(NOT_OPEN)
        self._require_file()
        return self._workers[0]

    @property
    def _scanner(self) -> SQLiteWorker:
        if self._reader is None:
            raise NotConnectedError(NOT_OPEN)
        return self._workers[1]
