"""Watches a SQLite file. `PRAGMA data_version` tells in a few microseconds whether anybody else has committed anything;
only then is the log of changes read. Both happen on the event loop's thread, on the connection of the point reads.
"""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gatewaydb.clock import Clock, Timer
from gatewaydb.config import DATA_VERSION_INTERVAL
from gatewaydb.engines.change_watch import ChangeWatch
from gatewaydb.engines.changes import Change, ChangeFeed
from gatewaydb.engines.sqlite_connection import bound, run
from gatewaydb.engines.statements import load_statements

_DATA_VERSION = "PRAGMA data_version"
_NEWEST = "SELECT coalesce(max(id), 0) FROM cache_changes"
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
        self.state = "closed"
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        try:
            [(version,)] = self._ask(_DATA_VERSION)
            if version != self._version:
                self._read_log()
                self._version = version
        except sqlite3.Error:
            self.state = "reconnecting"
        else:
            self.state = "polling"
            self._looked()
        self._timer = self._clock.call_later(DATA_VERSION_INTERVAL.total_seconds(), self._look)

    def _read_log(self) -> None:
        if self._seen is None:
            [(self._seen,)] = self._ask(_NEWEST)
            self._feed.publish_all()  # whatever was cached before anybody watched
            return
        rows = self._ask(self._list.sql, bound(self._list, {"seen": self._seen, "limit": _KEYS_MAX}))
        if not rows:
            return
        if min(first for _, _, first, _, _ in rows) != self._seen + 1:
            self._forget_everything()
        changes = [Change(noun, _keys_of(keys)) for noun, keys, _, _, _ in rows]
        self._changed(changes, _instant(min(changed_at for *_, changed_at in rows)))
        self._seen = max(last for _, _, _, last, _ in rows)

    def _ask(self, sql: str, arguments: list[Any] | tuple[()] = ()) -> list[tuple[Any, ...]]:
        connection = self._reader()
        if connection is None:
            raise sqlite3.OperationalError("closed")
        return run(connection, sql, arguments).rows


def _keys_of(text: str | None) -> frozenset[str] | None:
    return None if text is None else msgspec.json.decode(text, type=frozenset[str])


def _instant(julian_day: float) -> datetime:
    return _JULIAN_DAY_0 + timedelta(days=julian_day - _JULIAN_DAYS_TO_IT)
