"""SQLite's errors, said in our own words."""

import sqlite3

from gatewaydb.engines.changes import NotSent
from gatewaydb.errors import (
    AlreadyExistsError,
    DatabaseUnavailableError,
    GatewayDBError,
    InvalidValueError,
    QueryTimeoutError,
    StillReferencedError,
)

_UNAVAILABLE = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
_PRIMARY_CODE = 0xFF  # an extended result code has its primary code in the lowest byte


class LockedError(NotSent, QueryTimeoutError):
    """Another process writes; the statement did nothing, and may be tried again."""


def translated(error: sqlite3.Error, sql: str = "") -> GatewayDBError:
    """The error to raise instead. `sql` tells a row that others refer to from one that refers to none."""
    text = str(error)
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & _PRIMARY_CODE
    if isinstance(error, sqlite3.IntegrityError):
        return _broken_constraint(text, sql)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LockedError("another process is writing to this SQLite file")
    if primary == sqlite3.SQLITE_INTERRUPT:
        return QueryTimeoutError("SQLite did not answer within query_timeout; the statement was stopped")
    if primary in _UNAVAILABLE or "closed database" in text:
        return DatabaseUnavailableError(f"SQLite: {text}")
    if isinstance(error, sqlite3.DataError):
        return InvalidValueError(f"SQLite: {text}")
    return GatewayDBError(f"SQLite: {text}")


def _broken_constraint(text: str, sql: str) -> GatewayDBError:
    kind, _, columns = text.partition(": ")
    match kind:
        case "UNIQUE constraint failed":
            table = columns.partition(".")[0]
            names = [column.partition(".")[2] for column in columns.split(", ")]
            return AlreadyExistsError(f"{table}: a row with this {' and '.join(names)} exists already")
        case "FOREIGN KEY constraint failed" if sql.lstrip().upper().startswith("DELETE"):
            return StillReferencedError("other rows refer to this one; delete or change them first")
        case "FOREIGN KEY constraint failed":
            return InvalidValueError("refers to a row that does not exist")
    return InvalidValueError(f"SQLite: {text}")
