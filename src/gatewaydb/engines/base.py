"""What every engine offers. A repository sees an `Executor` and cannot tell an engine from a transaction on it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Protocol, Self

import msgspec

from gatewaydb.clock import Clock
from gatewaydb.config import CLOSE_TIMEOUT
from gatewaydb.engines.changes import Change, ChangeFeed, NotConnectedError, publishing
from gatewaydb.engines.group_commit import GroupCommit, T, Ungrouped, Write, Writer
from gatewaydb.engines.home import NOT_OPEN, Home
from gatewaydb.engines.statements import Dialect, Statement, load_statements
from gatewaydb.errors import GatewayDBError

Row = dict[str, Any]

CREATE_BOOKKEEPING = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL
);
"""
READ_BOOKKEEPING = "SELECT version, checksum FROM schema_migrations ORDER BY version"
MIGRATION_LOCK = "SELECT pg_advisory_xact_lock(7308332245326496371)"
"""Any number that no other program takes: all gatewaydb processes of one PostgreSQL database queue behind it."""


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """The connections of one engine, and how often and how long callers waited for one."""

    max_open_connections: int
    open_connections: int
    in_use: int
    idle: int
    wait_count: int
    wait_duration: timedelta
    max_idle_closed: int
    max_lifetime_closed: int
    replica_fallbacks: int = 0
    """Reports that the primary answered because the replica did not."""


class Executor(Protocol):
    """Runs the named statements of `sql/` with their parameters by name.

    All of its methods raise AlreadyExistsError, StillReferencedError, InvalidValueError, QueryTimeoutError,
    DatabaseUnavailableError, and GatewayDBError for whatever else the database refuses.
    """

    @property
    def dialect(self) -> Dialect: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def load_min_rows(self) -> int:
        """From how many rows on `load` is quicker than a statement for all of them."""

    def require_here(self) -> None:
        """Raises GatewayDBError on an event loop where it cannot be used, before anybody waits for anybody there."""

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        """All rows, as dicts."""

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        """The first row, or None."""

    async def execute(self, statement: str, **values: Any) -> int:
        """The number of rows that it inserted, updated or deleted."""

    def transaction(self) -> "AbstractAsyncContextManager[Transaction]":
        """A transaction; on a transaction, a savepoint."""

    def changing(self, noun: str) -> AbstractContextManager[set[str]]:
        """Surrounds a write: takes the keys that it changes, for the caches."""

    def grouped(self, write: Write[T]) -> Writer[T]:
        """Makes single writes of many tasks one transaction; inside a transaction, writes at once."""


class Transaction(ABC):
    """One open transaction, an `Executor` itself. Its changes wait here until it has committed."""

    dialect: Dialect
    clock: Clock
    load_min_rows: int

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._savepoints = 0
        self._is_over = False

    @abstractmethod
    async def fetch_all(self, statement: str, **values: Any) -> list[Row]: ...

    @abstractmethod
    async def fetch_one(self, statement: str, **values: Any) -> Row | None: ...

    @abstractmethod
    async def execute(self, statement: str, **values: Any) -> int: ...

    @abstractmethod
    async def execute_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """The statement once for each of `rows`, all or none."""

    @abstractmethod
    async def load(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """The quickest way for many rows into a table; gives the number of those that came in."""

    @abstractmethod
    async def fetch_sql(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        """Rows of a caller's own SQL, with the placeholders of the engine."""

    @abstractmethod
    async def execute_sql(self, sql: str, arguments: Sequence[Any]) -> int:
        """A caller's own SQL; gives the number of rows that it changed."""

    @abstractmethod
    async def control(self, sql: str) -> None:
        """BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """A savepoint: what fails inside is undone, and the transaction goes on."""
        self._savepoints += 1
        name, mark = f"savepoint_{self._savepoints}", len(self._changes)
        await self.control(f"SAVEPOINT {name}")
        try:
            yield self
        except BaseException:
            await self._undo(f"ROLLBACK TO SAVEPOINT {name}")
            del self._changes[mark:]
            raise
        await self.control(f"RELEASE SAVEPOINT {name}")

    def require_here(self) -> None:
        self._require_open()

    def changing(self, noun: str) -> AbstractContextManager[set[str]]:
        return publishing(self._changes.extend, noun)

    def grouped(self, write: Write[T]) -> Writer[T]:
        return Ungrouped(write)

    @asynccontextmanager
    async def run(self, feed: ChangeFeed) -> AsyncIterator[Self]:
        """The life of the outermost transaction: begin, the caller's block, commit or rollback, publish."""
        await self.control("BEGIN")
        try:
            yield self
        except BaseException:
            await self._undo("ROLLBACK")
            self._is_over = True
            raise
        try:
            await self.control("COMMIT")
        except BaseException:
            await self._undo("ROLLBACK")
            raise
        finally:
            self._is_over = True
            # Also after a COMMIT that failed: nobody may know whether it did.
            feed.publish(self._changes)

    def _require_open(self) -> None:
        if self._is_over:
            raise GatewayDBError("this transaction has ended")

    async def _undo(self, sql: str) -> None:
        # A transaction that its database has given up already, or that lost its connection, needs no rollback; the
        # caller is to see the first error and not this one.
        with suppress(GatewayDBError):
            await self.control(sql)


class Engine(ABC):
    """A database. Before `open` and after `close` every call is a DatabaseUnavailableError."""

    dialect: Dialect
    clock: Clock
    feed: ChangeFeed
    load_min_rows: int
    writers: int
    """How many writes may run beside each other to advantage."""

    def __init__(self, clock: Clock, feed: ChangeFeed) -> None:
        self.clock = clock
        self.feed = feed
        self._statements = load_statements(self.dialect)
        self._groups: list[GroupCommit[Any]] = []
        self._home = Home()
        self._is_closing = False
        self._transactions: dict[asyncio.Task[Any] | None, Transaction] = {}

    async def open(self) -> None:
        """Connects, for this event loop. Raises DatabaseUnavailableError, ConfigurationError."""
        self._home.enter()
        try:
            await self._connect()
        except BaseException:
            self._home.leave()
            raise

    async def close(self) -> None:
        """Waits a while for what is running, then cuts it off. Harmless where nothing is open.

        Raises GatewayDBError on another event loop than that of `open`, unless that one has ended.
        """
        self._home.require_for_closing()
        if self._home.is_lost:
            self._forget()
        elif self._home.is_here and not self._is_closing:
            await self._close_here()

    async def _close_here(self) -> None:
        self._is_closing = True
        deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT.total_seconds()
        try:
            await self._flush_groups(deadline)
        except BaseException:
            deadline = 0.0
            raise
        finally:
            self._home.leave()
            self._is_closing = False
            await self._disconnect(deadline)

    def _forget(self) -> None:
        """Lets go of what belonged to an event loop that has ended."""
        self._home.leave()
        for group in self._groups:
            group.forget()
        self._abandon()

    @abstractmethod
    async def _connect(self) -> None:
        """Leaves nothing open where it fails."""

    @abstractmethod
    async def _disconnect(self, deadline: float) -> None:
        """Waits for what is running until this time of the event loop's clock, then cuts it off."""

    @abstractmethod
    def _abandon(self) -> None:
        """Lets go of the connections, whose event loop has ended."""

    def require_here(self) -> None:
        self._home.require()

    def require_for_closing(self) -> None:
        """Raises GatewayDBError where `close` would."""
        self._home.require_for_closing()

    @abstractmethod
    async def health(self) -> None:
        """Raises DatabaseUnavailableError unless the database answers."""

    @abstractmethod
    def stats(self) -> PoolStats: ...

    @abstractmethod
    async def fetch_all(self, statement: str, **values: Any) -> list[Row]: ...

    @abstractmethod
    async def fetch_one(self, statement: str, **values: Any) -> Row | None: ...

    @abstractmethod
    async def execute(self, statement: str, **values: Any) -> int: ...

    @abstractmethod
    def _new_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that holds its connection and has not begun."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction of its own, for a task that has none open."""
        self._require_writable()
        task = asyncio.current_task()
        async with self._new_transaction() as transaction:
            self._transactions[task] = transaction
            try:
                async with transaction.run(self.feed):
                    yield transaction
            finally:
                del self._transactions[task]

    def changing(self, noun: str) -> AbstractContextManager[set[str]]:
        return publishing(self.feed.publish, noun)

    def grouped(self, write: Write[T]) -> Writer[T]:
        group: GroupCommit[T] = GroupCommit(write, self._require_groupable, self.writers)
        self._groups.append(group)
        return group

    async def _flush_groups(self, deadline: float) -> None:
        for group in self._groups:
            await group.flush(max(deadline - asyncio.get_running_loop().time(), 0))

    def _statement(self, name: str) -> Statement:
        """The statement, if it may run here and now, outside of transactions."""
        found = self._statements[name]
        if found.is_read:
            self._home.require()
        else:
            self._require_writable()
        return found

    def _require_groupable(self) -> None:
        self._require_writable()
        if self._is_closing:
            raise NotConnectedError(NOT_OPEN)

    def _require_writable(self) -> None:
        self._home.require()
        # SQLite has one writer, and on PostgreSQL this could wait for a row that the task itself has locked.
        if self.transaction_of_task is not None:
            raise GatewayDBError("this task has a transaction open: write through tx, not through db")

    @property
    def transaction_of_task(self) -> Transaction | None:
        """The transaction that the running task has open."""
        return self._transactions.get(asyncio.current_task())

    @abstractmethod
    def migrating(self) -> AbstractAsyncContextManager["MigrationSession"]:
        """A transaction that no other process migrates beside."""

    @abstractmethod
    async def applied_migrations(self) -> list[tuple[int, str]]:
        """(version, checksum) of what was applied, in order; empty where there is no schema yet."""


class MigrationSession(Protocol):
    """What a migration runs in."""

    async def applied(self) -> list[tuple[int, str]]:
        """(version, checksum), in order."""

    async def run_script(self, sql: str) -> None:
        """Several statements."""
