"""A database, whatever it is: its life, its writers and readers in groups, and the transactions of its tasks."""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Any

from gatewaydb.clock import Clock
from gatewaydb.config import CLOSE_TIMEOUT
from gatewaydb.engines.base import MigrationSession, PoolStats, Row
from gatewaydb.engines.change_watch import ChangeWatch
from gatewaydb.engines.changes import ChangeFeed, NotConnectedError, publishing
from gatewaydb.engines.coalescing import Coalesced, Direct, K, Lookup, Reader, V
from gatewaydb.engines.group_commit import GroupCommit, T, Write, Writer
from gatewaydb.engines.home import NOT_OPEN, Home
from gatewaydb.engines.statements import Dialect, Statement, load_statements
from gatewaydb.engines.transaction import Transaction
from gatewaydb.errors import GatewayDBError


class Engine(ABC):
    """A database. Before `open` and after `close` every call is a DatabaseUnavailableError."""

    dialect: Dialect
    clock: Clock
    feed: ChangeFeed
    watch: ChangeWatch
    """Sees the changes of others, once it is started; `close` ends it."""
    load_min_rows: int
    writers: int
    """How many writes may run beside each other to advantage."""
    queries_at_once: int
    """How many queries for the misses of one noun may run beside each other; 0: each miss has its own."""

    def __init__(self, clock: Clock, feed: ChangeFeed) -> None:
        self.clock = clock
        self.feed = feed
        self._statements = load_statements(self.dialect)
        self._groups: list[GroupCommit[Any]] = []
        self._readers: list[Coalesced[Any, Any]] = []
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
        for reader in self._readers:
            reader.breaker.start()

    async def close(self, *, at_once: bool = False) -> None:
        """Waits a while for what is running, then cuts it off. Harmless where nothing is open.

        Raises GatewayDBError on another event loop than that of `open`, unless that one has ended.
        """
        self._home.require_for_closing()
        if self._home.is_lost:
            self._forget()
        elif self._home.is_here and not self._is_closing:
            await self._close_here(0.0 if at_once else CLOSE_TIMEOUT.total_seconds())

    async def _close_here(self, timeout_s: float) -> None:
        self._is_closing = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            await self._flush_groups(deadline)
            await self._stop_readers(deadline)
        except BaseException:
            deadline = 0.0
            raise
        finally:
            self._home.leave()
            self._is_closing = False
            await self._disconnect(deadline)
            await self._stop_readers(math.inf)  # the last of them were cut off

    def _forget(self) -> None:
        """Lets go of what belonged to an event loop that has ended."""
        self._home.leave()
        for group in self._groups:
            group.forget()
        for reader in self._readers:
            reader.forget()
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
    def stream(self, statement: str, rows_at_a_time: int, **values: Any) -> AsyncGenerator[list[Row], None]: ...

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
                self._note_answer()
            finally:
                del self._transactions[task]

    def changing(self, noun: str) -> AbstractContextManager[set[str]]:
        return publishing(self.feed.publish, noun)

    def grouped(self, write: Write[T]) -> Writer[T]:
        group: GroupCommit[T] = GroupCommit(write, self._require_groupable, self.writers)
        self._groups.append(group)
        return group

    def coalesced(self, lookup: Lookup[K, V]) -> Reader[K, V]:
        if self.queries_at_once == 0:
            return Direct(lookup)
        reader = Coalesced(lookup, self.clock, self.queries_at_once)
        self._readers.append(reader)
        return reader

    def _note_answer(self) -> None:
        for reader in self._readers:
            reader.breaker.note_answer()

    async def _stop_readers(self, deadline: float) -> None:
        for reader in self._readers:
            await reader.stop(max(deadline - asyncio.get_running_loop().time(), 0))

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


async def close_each(deadline: float, *closings: Callable[[float], Awaitable[None]]) -> None:
    """One after the other; what comes after one that failed, or was cancelled, does not wait for anybody."""
    failure: BaseException | None = None
    for close in closings:
        try:
            await close(deadline)
        except BaseException as error:  # noqa: BLE001 - raised below
            deadline, failure = 0.0, error
    if failure is not None:
        raise failure
