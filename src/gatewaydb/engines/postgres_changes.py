"""Watches a PostgreSQL database, on one connection beside the pool.

Every commit that changed something is announced by NOTIFY, which brings it here in a few milliseconds. A message may
be missed: there was no connection, a pooler does not pass it on, a cut network shows to nobody. So the log of changes
is read, too, at every `change_poll_interval`: for whatever is committed now and was not at the last reading. That finds
what was missed, and whether the connection still works, as a question that is not answered in time ends it. After each
new connection the log is read first; so what happened meanwhile is known, and the caches may keep the rest.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import msgspec

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.change_watch import ChangeWatch
from gatewaydb.engines.changes import Change, ChangeFeed
from gatewaydb.engines.postgres_errors import DRIVER_ERRORS
from gatewaydb.engines.statements import load_statements
from gatewaydb.errors import GatewayDBError

CHANNEL = "gatewaydb_changes"
"""The name stands in the migration, too."""

_PRUNE = "DELETE FROM cache_changes WHERE xid < pg_snapshot_xmin($1::text::pg_snapshot)"
_KEEP = timedelta(hours=1)
_REACH = timedelta(minutes=30)
"""Changes are kept for an hour at least; who has not looked for half of it forgets everything."""
_TRANSACTIONS_MAX = 1000
"""More missed transactions than this are "all"."""
_RETRY_MIN_S, _RETRY_MAX_S = 0.05, 1.0
_CLOSE_TIMEOUT_S = 1.0

Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


class _Message(msgspec.Struct, frozen=True):
    """What the trigger `cache_changes_notify` says of a transaction."""

    xid: str
    origin: str | None
    at: datetime
    changes: dict[str, frozenset[str] | None]


class _Reading(NamedTuple):
    """Until where the log was read."""

    seen: str
    history: str
    looked_at: datetime

    def continues(self, last: "_Reading") -> bool:
        """Whether everything since `last` is in the log of now."""
        return (
            self.history == last.history
            and _newest_of(self.seen) >= _newest_of(last.seen)
            and self.looked_at - last.looked_at < _REACH
        )


class PostgresWatch(ChangeWatch):
    """`connect()` gives a connection of its own."""

    def __init__(self, config: DatabaseConfig, clock: Clock, feed: ChangeFeed, connect: Connect) -> None:
        super().__init__(clock, feed)
        self.origin = uuid4().hex
        """Names the transactions whose changes this process tells its caches itself."""
        self._connect = connect
        self._interval_s = config.change_poll_interval.total_seconds()
        self._timeout_s = config.query_timeout.total_seconds()
        # Where prepared statements do not work, the server's connections change hands, and with them the listening.
        self._is_to_listen = config.change_notifications and config.prepared_statements
        self._list = load_statements("postgres")["cache_change_list"]
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._retry_s = _RETRY_MIN_S
        self._reading: _Reading | None = None
        self._told: set[str] = set()
        self._untold: set[str] = set()
        self._prune_before: tuple[str, float] | None = None

    async def start(self) -> None:
        self._reading = None
        await self._look_or_disconnect()
        self._task = asyncio.create_task(self._watch())

    async def close(self) -> None:
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            if self._connection is not None:
                with suppress(*DRIVER_ERRORS):
                    await self._connection.close(timeout=_CLOSE_TIMEOUT_S)
        finally:
            self._disconnect()  # what closing left, as it was cancelled
            self.state = "closed"

    def abandon(self) -> None:
        self._connection = self._task = None
        self.state = "closed"

    async def _watch(self) -> None:
        while True:
            is_connected = self._connection is not None
            await self._pause(self._interval_s if is_connected else self._retry_after_s())
            await self._look_or_disconnect()

    async def _look_or_disconnect(self) -> None:
        try:
            if self._connection is None:
                await self._open_connection()
            else:
                untold = set(self._untold)
                await self._look(self._connection)
                if untold & self._untold:
                    await self._listen_again(self._connection)
        except (GatewayDBError, *DRIVER_ERRORS):
            self._disconnect()

    async def _open_connection(self) -> None:
        connection = self._connection = await self._connect()
        connection.add_termination_listener(self._lost)
        if self._is_to_listen:
            async with asyncio.timeout(self._timeout_s):
                await connection.add_listener(CHANNEL, self._heard)
        is_first = self._reading is None and self._task is None
        await self._look(connection)
        self._untold.clear()  # this was news from before anybody listened
        self.state = "listening" if self._is_to_listen else "polling"
        self._retry_s = _RETRY_MIN_S
        self.reconnects += not is_first

    def _disconnect(self) -> None:
        self.state = "reconnecting"
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _lost(self, connection: Any) -> None:
        if connection is self._connection:
            self._wake.set()

    def _retry_after_s(self) -> float:
        # At random, so that a thousand processes do not come back to a new server at once.
        delay = self._retry_s * random.uniform(0.5, 1)  # noqa: S311
        self._retry_s = min(self._retry_s * 2, _RETRY_MAX_S)
        return delay

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        timer = self._clock.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _heard(self, _connection: object, _process: object, _channel: object, payload: object) -> None:
        self.messages += 1
        try:
            message = msgspec.json.decode(str(payload), type=_Message)
        except msgspec.MsgspecError:
            self._forget_everything()  # whoever sends it means something
            return
        self.state = "listening"
        if message.xid in self._untold:
            self._untold.discard(message.xid)
            return
        self._told.add(message.xid)
        if message.origin != self.origin:
            self._changed([Change(noun, keys) for noun, keys in message.changes.items()], message.at)

    async def _listen_again(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        # What was read and is not told one reading later is told to nobody here.
        self.state = "polling"
        self._untold.clear()
        await connection.execute(f"LISTEN {CHANNEL}", timeout=self._timeout_s)

    async def _look(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        last, known = self._reading, list(self._told)
        values = {"seen": last and last.seen, "known": known, "limit": _TRANSACTIONS_MAX + 1}
        rows = await connection.fetch(self._list.sql, *self._list.bind(values), timeout=self._timeout_s)
        self._reading = reading = _Reading(rows[0]["seen"], rows[0]["history"], rows[0]["looked_at"])
        self._told.difference_update(known)
        self._looked()
        if last is None:
            self._feed.publish_all()  # whatever was cached before anybody watched
        elif len(rows) > _TRANSACTIONS_MAX or not reading.continues(last):
            self._forget_everything()
        else:
            self._read([row for row in rows if row["xid"] is not None])
        await self._prune(connection, reading.seen)

    def _read(self, rows: Sequence[Any]) -> None:
        for row in rows:
            if row["xid"] not in self._told:
                keys = None if row["keys"] is None else frozenset(row["keys"])
                self._changed([Change(row["noun"], keys)], row["changed_at"])
        if self._is_to_listen:
            self._untold.update(row["xid"] for row in rows if row["xid"] not in self._told)

    async def _prune(self, connection: "asyncpg.Connection[asyncpg.Record]", seen: str) -> None:
        now = self._clock.monotonic()
        if self._prune_before is not None:
            old, at = self._prune_before
            if now - at < _KEEP.total_seconds():
                return
            await connection.execute(_PRUNE, old, timeout=self._timeout_s)
        self._prune_before = seen, now


def _newest_of(snapshot: str) -> int:
    """The first transaction id that had not been given out."""
    return int(snapshot.split(":")[1])
