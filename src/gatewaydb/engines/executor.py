"""What a repository is given. It cannot tell an engine from a transaction on it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from gatewaydb.clock import Clock
from gatewaydb.engines.base import Row
from gatewaydb.engines.coalescing import K, Lookup, Reader, V
from gatewaydb.engines.group_commit import T, Write, Writer
from gatewaydb.engines.statements import Dialect
from gatewaydb.engines.transaction import Transaction


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

    def stream(self, statement: str, rows_at_a_time: int, **values: Any) -> AsyncGenerator[list[Row], None]:
        """All rows as of the first ones, so many at a time; in no transaction. Whoever leaves early closes it."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction; on a transaction, a savepoint."""

    def changing(self, noun: str) -> AbstractContextManager[set[str]]:
        """Surrounds a write: takes the keys that it changes, for the caches."""

    def grouped(self, write: Write[T]) -> Writer[T]:
        """Makes single writes of many tasks one transaction; inside a transaction, writes at once."""

    def coalesced(self, lookup: Lookup[K, V]) -> Reader[K, V]:
        """Makes single reads of many tasks one query, where that saves anything."""
