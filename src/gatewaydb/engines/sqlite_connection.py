"""What we ask of one SQLite connection: how it is opened, what goes in and what comes out."""

import re
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec import convert
from msgspec.structs import asdict

from gatewaydb.engines.statements import Statement

# How long SQLite itself waits for another process's lock, on our thread; we go on asking until query_timeout.
_BUSY_TIMEOUT_MS = 50
_LOOK_AGAIN_S = 0.01
# Records land all over their indexes: with SQLite's own 2 MB a load reads pages again and again. And a page that many
# commits change is moved into the database once where the WAL may hold 16 MB.
_ROOM = ("cache_size = -16384", "wal_autocheckpoint = 4000")
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY_SNAPSHOT)

_ENCODE: dict[type, Callable[[Any], Any]] = {
    UUID: msgspec.to_builtins,
    datetime: lambda value: value.isoformat(timespec="microseconds"),
    date: date.isoformat,
    Decimal: lambda value: format(value, "f"),
    list: lambda value: msgspec.json.encode(value).decode(),
}


class Fetched(msgspec.Struct, frozen=True):
    """What one statement gave: the driver's word on the columns, raw rows, and the number of rows that it changed."""

    description: Sequence[tuple[Any, ...]]
    rows: list[tuple[Any, ...]]
    changed: int


class _RowType(NamedTuple):
    """A struct with a statement's columns, which msgspec converts a row to in one call, and those that are times."""

    struct: type[msgspec.Struct]
    times: tuple[str, ...]


_ROW_TYPES: dict[str, _RowType] = {}
"""By the statement's name, learnt from its first result."""


def connect_writer(path: str, timeout: timedelta) -> sqlite3.Connection:
    """A connection in WAL mode that waits for the disk at each commit: what is committed survives a power cut."""
    return _connected(path, timeout, "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", *_ROOM)


def connect_reader(path: str, timeout: timedelta) -> sqlite3.Connection:
    """A connection that refuses to write."""
    return _connected(path, timeout, "query_only = ON")


def _connected(path: str, timeout: timedelta, *pragmas: str) -> sqlite3.Connection:
    # Where several processes open a new file at once, each may find it locked for a moment, and SQLite's own waiting
    # does not cover the change to WAL.
    deadline = time.monotonic() + timeout.total_seconds()
    while True:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        try:
            for pragma in (f"busy_timeout = {_BUSY_TIMEOUT_MS}", *pragmas):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except BaseException as error:
            connection.close()
            if getattr(error, "sqlite_errorcode", None) not in _LOCKED or time.monotonic() >= deadline:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            return connection


def bound(statement: Statement, values: Mapping[str, Any]) -> list[Any]:
    """The arguments of a statement of ours, as SQLite stores them."""
    return [
        value if (encode := _ENCODE.get(type(value := values[name]))) is None else encode(value)
        for name in statement.parameters
    ]


def encoded(value: Any) -> Any:
    """A UUID, a time, money or a list as the text that stands for it; anything else as it is."""
    encode = _ENCODE.get(type(value))
    return value if encode is None else encode(value)


def run(connection: sqlite3.Connection, sql: str, arguments: Sequence[Any] | Mapping[str, Any] = ()) -> Fetched:
    """Runs one statement to its end: a cursor left half read would keep its read transaction open."""
    cursor = connection.execute(sql, arguments)
    rows = cursor.fetchall()
    return Fetched(cursor.description or (), rows, max(cursor.rowcount, 0))


def raw_rows(fetched: Fetched) -> list[dict[str, Any]]:
    """The rows of a caller's own SQL, as SQLite has them."""
    names = [column[0] for column in fetched.description]
    return [dict(zip(names, row, strict=True)) for row in fetched.rows]


def typed_rows(statement: Statement, fetched: Fetched) -> list[dict[str, Any]]:
    """The rows of a statement of ours, with the types that PostgreSQL gives, told by the names of the columns."""
    if not (raw := fetched.rows):
        return []
    struct, times = _ROW_TYPES.get(statement.name) or _learn_row_type(statement, fetched)
    rows = [asdict(convert(row, struct, strict=False)) for row in raw]
    for row in rows:
        for column in times:
            if (text := row[column]) is not None:
                instant = datetime.fromisoformat(text)
                row[column] = instant if instant.tzinfo is UTC else _in_utc(instant)
    return rows


def _learn_row_type(statement: Statement, fetched: Fetched) -> _RowType:
    columns = [sys.intern(column[0]) for column in fetched.description]
    fields = [(column, _type_of(column)) for column in columns]
    struct = msgspec.defstruct(statement.name, fields, array_like=True, forbid_unknown_fields=True, gc=False)
    return _ROW_TYPES.setdefault(statement.name, _RowType(struct, tuple(filter(_TIME.fullmatch, columns))))


def _type_of(column: str) -> Any:
    return next((kind for pattern, kind in _TYPES if pattern.fullmatch(column)), Any)


def _in_utc(instant: datetime) -> datetime:
    # Whoever writes SQL by hand may leave the offset out; what is stored is UTC.
    return instant.astimezone(UTC) if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


_TYPES = (
    (re.compile(r"id|(api_key|model|provider)_id"), UUID | None),
    (re.compile(r"\w+_usd|price"), Decimal | None),
    (re.compile(r"(first_)?day"), date | None),
    (re.compile(r"enabled|supports_\w+|has_credentials"), bool | None),
)
_TIME = re.compile(r"\w+_at|request_timestamp|valid_(from|until)")


def newest_change(connection: sqlite3.Connection) -> int:
    """The id of the last change in the log."""
    newest: int = connection.execute("SELECT coalesce(max(id), 0) FROM cache_changes").fetchall()[0][0]
    return newest


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Runs several statements inside the open transaction, which sqlite3's own executescript would commit."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
