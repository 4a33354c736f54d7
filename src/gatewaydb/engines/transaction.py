"""One open transaction, whatever the engine."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Any, Self

from gatewaydb.clock import Clock
from gatewaydb.engines.base import Row
from gatewaydb.engines.changes import Change, ChangeFeed, publishing
from gatewaydb.engines.coalescing import Direct, K, Lookup, Reader, V
from gatewaydb.engines.group_commit import T, Ungrouped, Write, Writer
from gatewaydb.engines.statements import Dialect
from gatewaydb.errors import GatewayDBError


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
        """The quickest way for many rows into a table; gives the number of those that came in.

        On PostgreSQL all or none; on SQLite the savepoint or transaction around it has to be undone where it fails.
        """

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

    def stream(self, statement: str, *_: int, **__: Any) -> AsyncGenerator[list[Row], None]:
        """Refused: a snapshot of its own would not see what the transaction wrote."""
        raise GatewayDBError(f"{statement}: streams outside of transactions, through db and not through tx")

    def changing(self, noun: str) -> AbstractContextManager[set[str]]:
        return publishing(self._changes.extend, noun)

    def grouped(self, write: Write[T]) -> Writer[T]:
        return Ungrouped(write)

    def coalesced(self, lookup: Lookup[K, V]) -> Reader[K, V]:
        return Direct(lookup)

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
