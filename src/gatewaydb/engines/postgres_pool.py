"""asyncpg's pool, with the limits, lifetimes and counts that Go's sql.DB has and it has not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.base import PoolStats
from gatewaydb.engines.changes import NoneFreeError, NotConnectedError
from gatewaydb.engines.home import NOT_OPEN, WAS_CLOSED, Waits
from gatewaydb.engines.postgres_errors import DRIVER_ERRORS, ReadOnlyServerError, asked, translated
from gatewaydb.engines.postgres_hosts import PostgresHosts
from gatewaydb.errors import ConfigurationError, DatabaseUnavailableError, GatewayDBError, QueryTimeoutError

CANCEL_GRACE_S = 1.0
"""What a server has to answer within that was told to cancel or to roll back."""
# What callers that were cut off need to see it.
_UNWIND_S = 1.0
# Connections above max_idle_conns are closed this long after they fell idle: a burst that comes back finds them open.
_SURPLUS_GRACE_S = 1.0
# What asyncpg's reset leaves. DISCARD ALL would take its prepared statements along.
_RESET_MORE = "SET SESSION AUTHORIZATION DEFAULT; DISCARD TEMP; DISCARD SEQUENCES;"


class _Connection(asyncpg.Connection):
    """A connection that knows its age, and whether a caller's own SQL may have changed its session."""

    born = 0.0
    era = 0
    is_touched = False

    def touch(self) -> None:
        self.is_touched = True


class PostgresPool:
    """At most `max_open_conns` connections, made when they are needed; callers queue for them in order."""

    def __init__(self, config: DatabaseConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._timeout_s = config.query_timeout.total_seconds()
        self._lifetime_s = config.conn_max_lifetime.total_seconds()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._hosts = PostgresHosts(config)
        self._waits = Waits()
        self._era = 0
        self._callers = 0
        self._left: asyncio.Future[None] | None = None
        self._wait_count = 0
        self._wait_s = 0.0
        self._max_idle_closed = 0
        self._max_lifetime_closed = 0

    async def open(self) -> None:
        """Connects once, so that a wrong setting shows here and not at the first request."""
        await self.start()
        try:
            await self.probe()
        except BaseException:
            await self.close(0)
            raise

    async def start(self) -> None:
        """Opens without connecting."""
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self._config.max_open_conns,
            max_queries=0x7FFFFFFF,
            max_inactive_connection_lifetime=self._config.conn_max_idle_time.total_seconds(),
            connect=self._connect,
            reset=_reset_if_touched,
            connection_class=_Connection,
        )

    async def probe(self) -> None:
        """Connects. Raises DatabaseUnavailableError, ConfigurationError."""
        try:
            async with self.connection():
                pass
        except (ValueError, OverflowError) as error:
            raise ConfigurationError(f"PostgreSQL: {error}") from None

    async def connect_apart(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection beside the pool, uncounted, which is the caller's to close. Raises DatabaseUnavailableError."""
        connection: asyncpg.Connection[asyncpg.Record] = await self._hosts.connect()
        return connection

    async def close(self, deadline: float) -> None:
        """Waits for the callers until this time of the loop's clock, then cuts them off."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._until_left()
                await self._stop_trimming()
                await pool.close()
        except (TimeoutError, *DRIVER_ERRORS):
            pass  # what did not end by itself is ended below
        finally:
            pool.terminate()
            self._waits.cut()
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNWIND_S):
                    await self._stop_trimming()
                    await self._until_left()

    def abandon(self) -> None:
        """Lets go of the connections of an event loop that has ended."""
        self._pool = self._trimming = None
        self._callers = 0

    async def _stop_trimming(self) -> None:
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait([self._trimming])

    async def _until_left(self) -> None:
        """Returns when no caller has a connection or waits for one."""
        while self._callers:
            self._left = asyncio.get_running_loop().create_future()
            await self._left

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]":
        """A connection of the caller's own. Raises QueryTimeoutError if none is free within `query_timeout`."""
        pool = self._pool
        if pool is None:
            raise NotConnectedError(NOT_OPEN)
        self._callers += 1
        try:
            connection = await self._acquire(pool)
            try:
                yield connection
            except ReadOnlyServerError:
                self._renew()
                raise
            except QueryTimeoutError:
                if is_lost(connection):  # its rollback did not get through, either
                    self._renew()
                raise
            finally:
                await self._release(pool, connection)
        finally:
            self._callers -= 1
            if not self._callers and self._left is not None and not self._left.done():
                self._left.set_result(None)

    def _renew(self) -> None:
        # One connection told that its server hangs, is out of reach, or is no longer the primary. Each of the others
        # would cost a caller as much to find out.
        self._era += 1

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Any:
        must_wait = self._callers > self._config.max_open_conns
        start = self._clock.monotonic()
        try:
            while True:
                connection = await self._next(pool, must_wait)
                if connection.era == self._era:
                    return connection
                connection.terminate()
        except GatewayDBError:
            raise
        except DRIVER_ERRORS as error:
            if self._pool is not pool:
                raise NotConnectedError(WAS_CLOSED) from None
            if isinstance(error, TimeoutError):
                raise NoneFreeError("no connection became free within query_timeout") from None
            reason = translated(error)
            raise NotConnectedError(str(reason)) if isinstance(reason, DatabaseUnavailableError) else reason from error
        finally:
            if must_wait:
                self._wait_count += 1
                self._wait_s += self._clock.monotonic() - start

    async def _next(self, pool: "asyncpg.Pool[asyncpg.Record]", must_wait: bool) -> Any:
        if not must_wait:
            # A timeout costs microseconds; connecting has one of its own, and an idle connection is there at once.
            return await pool.acquire()
        async with self._waits.within(self._timeout_s):
            return await pool.acquire()

    async def _connect(self, *_: Any, **options: Any) -> Any:
        if self._pool is None:
            raise NotConnectedError(WAS_CLOSED)
        era = self._era
        async with self._waits.within(self._timeout_s + _UNWIND_S):
            connection = await self._hosts.connect(**options)
        connection.born, connection.era = self._clock.monotonic(), era
        return connection

    async def _release(self, pool: "asyncpg.Pool[asyncpg.Record]", connection: Any) -> None:
        if not is_lost(connection) and connection.era != self._era:
            connection.terminate()
        try:
            if self._outlived(connection):
                self._max_lifetime_closed += 1
                await connection.close(timeout=self._timeout_s)
        except DRIVER_ERRORS:
            pass  # it was to be closed, and it is
        finally:
            try:
                await pool.release(connection, timeout=min(self._timeout_s, CANCEL_GRACE_S))
            except TimeoutError:
                self._renew()
            except DRIVER_ERRORS:
                pass  # asyncpg has closed it
        if self._pool is pool and self._trimming is None and pool.get_idle_size() > self._config.max_idle_conns:
            self._trimming = asyncio.create_task(self._trim(pool))
            self._trimming.add_done_callback(self._trimmed)

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """The driver's rows of one statement."""
        async with self.connection() as connection:
            return await asked(connection.fetch(sql, *arguments, timeout=self._timeout_s))

    def _outlived(self, connection: Any) -> bool:
        if self._lifetime_s == 0 or is_lost(connection):
            return False
        return self._clock.monotonic() - float(connection.born) > self._lifetime_s

    async def _trim(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        await asyncio.sleep(_SURPLUS_GRACE_S)
        while pool.get_idle_size() > self._config.max_idle_conns:
            connection = await pool.acquire()
            self._max_idle_closed += 1
            with suppress(*DRIVER_ERRORS):
                await connection.close(timeout=CANCEL_GRACE_S)
            await pool.release(connection)

    def _trimmed(self, task: "asyncio.Task[None]") -> None:
        self._trimming = None
        if not task.cancelled():
            task.exception()

    def stats(self) -> PoolStats:
        """What the pool holds now, and what it counted since it was opened."""
        size, idle = (0, 0) if self._pool is None else (self._pool.get_size(), self._pool.get_idle_size())
        return PoolStats(
            max_open_connections=self._config.max_open_conns,
            open_connections=size,
            in_use=size - idle,
            idle=idle,
            wait_count=self._wait_count,
            wait_duration=timedelta(seconds=self._wait_s),
            max_idle_closed=self._max_idle_closed,
            max_lifetime_closed=self._max_lifetime_closed,
        )


async def _reset_if_touched(connection: Any) -> None:
    # asyncpg's own reset on every release more than doubles the latency of a short query.
    if connection.is_touched:
        await connection.execute(f"{connection.get_reset_query()} {_RESET_MORE}")
        connection.is_touched = False


def is_lost(connection: Any) -> bool:
    """Whether a connection that the pool gave out is closed, or went back by itself, as closed ones do."""
    try:
        return bool(connection.is_closed())
    except DRIVER_ERRORS:
        return True
