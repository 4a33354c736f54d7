"""Watches a SQLite file. `PRAGMA data_version` tells in a few microseconds whether anybody else has committed anything;
only then is the log of changes read. Both happen on the event loop's thread, on the connection of the point reads.
"""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from gatewaydb.clock import Clock, Timer
from gatewaydb.config import DATA_VERSION_INTERVAL
from gatewaydb.engines.change_watch import ChangeWatch
from gatewaydb.engines.changes import Change, ChangeFeed
from gatewaydb.engines.sqlite_connection import bound, newest_change, run
from gatewaydb.engines.statements import load_statements

_DATA_VERSION = "PRAGMA data_version"
_KEYS_MAX = 1000
"""More changed keys of a noun than this at a time are "all"."""
_JULIAN_DAY_0 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_JULIAN_DAYS_TO_IT = 2_451_545


class SQLiteWatch(ChangeWatch):
    """Looks every 50 ms at the connection that `reader()` gives."""

    def __init__(self, reader: Callable[[], sqlite3.Connection | None], clock: Clock, feed: ChangeFeed) -> None:
        super().__init__(clock, feed)
        self._reader = reader
        self._list = load_statements("sqlite")["cache_change_list"]
        self._timer: Timer | None = None
        self._version: int | None = None
        self._seen: int | None = None

    async def start(self) -> None:
        self._version = self._seen = None
        self._look()

    async def close(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        self.state = "closed"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def skip(self, before: int, newest: int) -> None:
        """Takes the changes after `before` until `newest` as read, if nobody else's are between them and the last."""
        if self._seen == before:
            self._seen = newest

    def _look(self) -> None:
        connection = self._reader()
        try:
            if connection is not None:
                self._look_at(connection)
        except sqlite3.Error:
            self.state = "reconnecting"
        self._timer = self._clock.call_later(DATA_VERSION_INTERVAL.total_seconds(), self._look)

    def _look_at(self, connection: sqlite3.Connection) -> None:
        [(version,)] = run(connection, _DATA_VERSION).rows
        if self._seen is None:
            self._seen = newest_change(connection)
            self._feed.publish_all()  # whatever was cached before anybody watched
        elif version != self._version:
            self._read_log(connection, self._seen)
        self._version = version
        self.state = "polling"
        self._looked()

    def _read_log(self, connection: sqlite3.Connection, seen: int) -> None:
        rows = run(connection, self._list.sql, bound(self._list, {"seen": seen, "limit": _KEYS_MAX})).rows
        if not rows:
            return
        if min(first for _, _, first, _, _ in rows) != seen + 1:
            self._forget_everything()
        changes = [Change(noun, _keys_of(keys)) for noun, keys, _, _, _ in rows]
        self._changed(changes, _instant(min(changed_at for *_, changed_at in rows)))
        self._seen = max(last for _, _, _, last, _ in rows)


def _keys_of(text: str | None) -> frozenset[str] | None:
    return None if text is None else msgspec.json.decode(text, type=frozenset[str])


def _instant(julian_day: float) -> datetime:
    return _JULIAN_DAY_0 + timedelta(days=julian_day - _JULIAN_DAYS_TO_IT)
