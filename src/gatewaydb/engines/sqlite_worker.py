"""One SQLite connection on a thread of its own: for writes, and for reads that may take long."""

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TypeVar

from gatewaydb.clock import Clock
from gatewaydb.engines.changes import NoneFreeError, NotConnectedError
from gatewaydb.engines.home import WAS_CLOSED, Waits
from gatewaydb.engines.sqlite_errors import LockedError, translated
from gatewaydb.errors import DatabaseUnavailableError, InvalidValueError

T = TypeVar("T")

_INTERRUPT_AGAIN_S = 0.01
_UNWIND_S = 1.0


class SQLiteWorker:
    """Runs one piece of work at a time. Its user holds `exclusive()`; whoever waits for it is counted."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], timeout: timedelta, clock: Clock) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"gatewaydb-{name}")
        self._connect = connect
        self._timeout_s = timeout.total_seconds()
        self._clock = clock
        self._lock = asyncio.Lock()
        self._waits = Waits()
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self.wait_count = 0
        self.wait_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether somebody holds it."""
        return self._lock.locked()

    async def open(self) -> None:
        """Connects, on its own thread."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._make_connection)
        except sqlite3.Error as error:
            raise translated(error) from None

    async def close(self, deadline: float) -> None:
        """Waits for its users until this time of the loop's clock, interrupts them, and ends connection and thread."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline), self._lock:
                    pass
        finally:
            await self._end()

    async def _end(self) -> None:
        is_cut = self.is_busy
        self._waits.cut()
        if self._is_closed:
            return
        self._is_closed = True
        ended = asyncio.get_running_loop().run_in_executor(self._thread, self._end_connection)
        self._thread.shutdown(wait=False)
        if is_cut and self._connection is not None:
            _interrupt(self._connection, ended)
        await asyncio.wait([ended], timeout=_UNWIND_S if is_cut else None)

    # On the thread, in the order in which they were asked for: who is cancelled while it connects can close it still.
    def _make_connection(self) -> None:
        self._connection = self._connect()

    def _end_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """As `close`, for an event loop that has ended."""
        self._is_closed = True
        if self._connection is not None:
            self._connection.interrupt()
        self._thread.submit(self._end_connection)
        self._thread.shutdown()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Nobody else's work in between. Raises QueryTimeoutError after `query_timeout` in the queue."""
        await self._acquire()
        try:
            yield
        finally:
            self._leave_clean()
            self._lock.release()

    def _leave_clean(self) -> None:
        # A transaction whose rollback was cancelled, too: the thread undoes it before it takes other work.
        if self._connection is not None and not self._is_closed and self._connection.in_transaction:
            self._thread.submit(self._connection.rollback)

    async def _acquire(self) -> None:
        if not self._lock.locked():
            await self._lock.acquire()
            return
        self.wait_count += 1
        start = self._clock.monotonic()
        try:
            async with self._waits.within(self._timeout_s):
                await self._lock.acquire()
        except TimeoutError:
            if self._is_closed:
                raise NotConnectedError(WAS_CLOSED) from None
            raise NoneFreeError("another transaction of this process held the database for too long") from None
        finally:
            self.wait_s += self._clock.monotonic() - start

    async def run_when_free(self, work: Callable[[sqlite3.Connection], T], sql: str, timeout_s: float | None) -> T:
        """The result of `work(connection)`.

        Where another process holds the file's lock, it is asked again until the timeout; work that takes longer than
        that, or whose caller is cancelled, is interrupted. `sql` explains an error.
        """
        deadline = math.inf if timeout_s is None else self._clock.monotonic() + timeout_s
        while True:
            try:
                return await self._run(work, sql, timeout_s)
            except LockedError:
                if self._clock.monotonic() >= deadline:
                    raise

    async def _run(self, work: Callable[[sqlite3.Connection], T], sql: str, timeout_s: float | None) -> T:
        connection = self._connection
        if connection is None or self._is_closed:
            raise NotConnectedError(WAS_CLOSED)
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, work, connection)
        timer = None if timeout_s is None else loop.call_later(timeout_s, _interrupt, connection, future)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            _interrupt(connection, future)
            await _settled(future)
            raise
        except sqlite3.Error as error:
            if self._is_closed:  # it was interrupted
                raise DatabaseUnavailableError(WAS_CLOSED) from None
            raise translated(error, sql) from None
        except (OverflowError, UnicodeEncodeError) as error:
            raise InvalidValueError(f"SQLite: {error}") from None
        finally:
            if timer is not None:
                timer.cancel()


def _interrupt(connection: sqlite3.Connection, future: asyncio.Future[T]) -> None:
    """Until the work has ended: SQLite forgets an interrupt that comes before a statement has begun."""
    if not future.done():
        with suppress(sqlite3.ProgrammingError):  # it has just been closed
            connection.interrupt()
        asyncio.get_running_loop().call_later(_INTERRUPT_AGAIN_S, _interrupt, connection, future)


async def _settled(future: asyncio.Future[T]) -> None:
    """Returns when the thread has let go of the connection, however often the caller is cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()
