"""asyncpg's pool, with the limits, lifetimes and counts that Go's sql.DB has and it has not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import asyncpg

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.base import PoolStats
from gatewaydb.engines.changes import NoneFreeError, NotConnectedError
from gatewaydb.engines.postgres_errors import DRIVER_ERRORS, translated
from gatewaydb.errors import ConfigurationError, DatabaseUnavailableError

_CLOSE_TIMEOUT_S = 5.0
# Connections above max_idle_conns are closed this long after they fell idle: a burst that comes back finds them open.
_SURPLUS_GRACE_S = 1.0
# What asyncpg's reset leaves. DISCARD ALL would take its prepared statements along.
_RESET_MORE = "SET SESSION AUTHORIZATION DEFAULT; DISCARD TEMP; DISCARD SEQUENCES;"


class _Connection(asyncpg.Connection):
    """A connection that knows its age, and whether a caller's own SQL may have changed its session."""

    born = 0.0
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
        self._callers = 0
        self._wait_count = 0
        self._wait_s = 0.0
        self._max_idle_closed = 0
        self._max_lifetime_closed = 0

    async def open(self) -> None:
        """Connects once, so that a wrong setting shows here and not at the first request."""
        try:
            self._pool = asyncpg.create_pool(
                min_size=0,
                max_size=self._config.max_open_conns,
                max_queries=0x7FFFFFFF,
                max_inactive_connection_lifetime=self._config.conn_max_idle_time.total_seconds(),
                init=self._remember_birth,
                reset=_reset_if_touched,
                connection_class=_Connection,
                **_connect_arguments(self._config),
            )
            await self._pool
            async with self.connection():
                pass
        except (ValueError, OverflowError) as error:
            await self.close()
            raise ConfigurationError(f"PostgreSQL: {error}") from None
        except BaseException:
            await self.close()
            raise

    async def connect_apart(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection beside the pool, uncounted, which is the caller's to close. Raises what asyncpg raises."""
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**_connect_arguments(self._config))
        return connection

    async def close(self) -> None:
        """Waits a while for what is running, then cuts it off."""
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.wait([self._trimming])
            self._trimming = None
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, *DRIVER_ERRORS):
            pool.terminate()

    @asynccontextmanager
    async def connection(self) -> "AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]":
        """A connection of the caller's own. Raises QueryTimeoutError if none is free within `query_timeout`."""
        pool = self._pool
        if pool is None:
            raise NotConnectedError("the database is not open")
        self._callers += 1
        try:
            connection = await self._acquire(pool)
            try:
                yield connection
            finally:
                await self._release(pool, connection)
        finally:
            self._callers -= 1

    async def _acquire(self, pool: "asyncpg.Pool[asyncpg.Record]") -> Any:
        must_wait = self._callers > self._config.max_open_conns
        start = self._clock.monotonic()
        try:
            # A timeout costs microseconds; connecting has one of its own, and an idle connection is there at once.
            return await pool.acquire(timeout=self._timeout_s if must_wait else None)
        except DRIVER_ERRORS as error:
            if isinstance(error, TimeoutError) and must_wait:
                raise NoneFreeError("no connection became free within query_timeout") from None
            reason = translated(error)
            raise NotConnectedError(str(reason)) if isinstance(reason, DatabaseUnavailableError) else reason from error
        finally:
            if must_wait:
                self._wait_count += 1
                self._wait_s += self._clock.monotonic() - start

    async def _release(self, pool: "asyncpg.Pool[asyncpg.Record]", connection: Any) -> None:
        try:
            if self._outlived(connection):
                self._max_lifetime_closed += 1
                await connection.close(timeout=self._timeout_s)
        except DRIVER_ERRORS:
            pass  # it was to be closed, and it is
        finally:
            with suppress(*DRIVER_ERRORS):
                await pool.release(connection, timeout=self._timeout_s)
        if self._trimming is None and pool.get_idle_size() > self._config.max_idle_conns:
            self._trimming = asyncio.create_task(self._trim(pool))
            self._trimming.add_done_callback(self._trimmed)

    def _outlived(self, connection: Any) -> bool:
        if self._lifetime_s == 0 or connection.is_closed():
            return False
        return self._clock.monotonic() - float(connection.born) > self._lifetime_s

    async def _trim(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        await asyncio.sleep(_SURPLUS_GRACE_S)
        while pool.get_idle_size() > self._config.max_idle_conns:
            connection = await pool.acquire()
            self._max_idle_closed += 1
            with suppress(*DRIVER_ERRORS):
                await connection.close()
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

    async def _remember_birth(self, connection: Any) -> None:
        connection.born = self._clock.monotonic()


async def _reset_if_touched(connection: Any) -> None:
    # asyncpg's own reset on every release more than doubles the latency of a short query.
    if connection.is_touched:
        await connection.execute(f"{connection.get_reset_query()} {_RESET_MORE}")
        connection.is_touched = False


def _connect_arguments(config: DatabaseConfig) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "dsn": config.url,
        "host": config.host,
        "port": config.port,
        "database": config.database,
        "user": config.user,
        "password": config.password,
        "ssl": config.ssl_mode,
        "timeout": config.query_timeout.total_seconds(),
    }
    if not config.prepared_statements:
        arguments["statement_cache_size"] = 0
    return {name: value for name, value in arguments.items() if value is not None}
