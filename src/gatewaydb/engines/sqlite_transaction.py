"""A transaction on the connection that writes."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gatewaydb.clock import Clock
from gatewaydb.engines.base import READ_BOOKKEEPING, Row
from gatewaydb.engines.sqlite_connection import (
    Fetched,
    bound,
    encoded,
    newest_change,
    raw_rows,
    run,
    run_script,
    typed_rows,
)
from gatewaydb.engines.sqlite_loading import blocks_of, insert_ahead
from gatewaydb.engines.sqlite_worker import SQLiteWorker, T
from gatewaydb.engines.statements import load_statements
from gatewaydb.engines.transaction import Transaction
from gatewaydb.errors import GatewayDBError, InvalidValueError

LOAD_MIN_ROWS = 20
_NUMBERED = re.compile(r"\$(\d+)")


class SQLiteTransaction(Transaction):
    """The writer is its own from first to last; BEGIN travels with the first statement, which saves a hop."""

    dialect = "sqlite"
    load_min_rows = LOAD_MIN_ROWS

    def __init__(
        self,
        writer: SQLiteWorker,
        clock: Clock,
        timeout_s: float | None,
        skip: Callable[[int, int], None] | None = None,
    ) -> None:
        super().__init__()
        self.clock = clock
        self._writer = writer
        self._timeout_s = timeout_s
        self._statements = load_statements("sqlite")
        self._has_begun = False
        self._skip = skip
        self._newest_before = 0

    async def fetch_all(self, statement: str, **values: Any) -> list[Row]:
        found = self._statements[statement]
        return typed_rows(found, await self._sql(found.sql, bound(found, values)))

    async def fetch_one(self, statement: str, **values: Any) -> Row | None:
        rows = await self.fetch_all(statement, **values)
        return rows[0] if rows else None

    async def execute(self, statement: str, **values: Any) -> int:
        found = self._statements[statement]
        return (await self._sql(found.sql, bound(found, values))).changed

    async def execute_many(self, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        found = self._statements[statement]
        batch = [bound(found, row) for row in rows]
        await self._run(lambda connection: connection.executemany(found.sql, batch), found.sql)

    async def load(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> int:
        before, insert, insert_rest, *after = self._statements[statement].steps
        await self._sql(before.sql)
        loaded = await insert_ahead(
            blocks_of(insert, insert_rest, iter(rows)), lambda work: self._run(work, insert.sql)
        )
        for step in after:
            await self._sql(step.sql)
        return loaded

    async def fetch_sql(self, sql: str, arguments: Sequence[Any]) -> list[Row]:
        self._skip = None  # what a caller's own SQL changes has to come back as if another process had done it
        return raw_rows(await self._sql(sql, _placed(sql, arguments)))

    async def execute_sql(self, sql: str, arguments: Sequence[Any]) -> int:
        self._skip = None
        return (await self._sql(sql, _placed(sql, arguments))).changed

    async def control(self, sql: str) -> None:
        if sql == "COMMIT" and self._has_begun and self._skip is not None:
            newest = await self._run(_commit, sql)
            self._skip(self._newest_before, newest)
        elif self._has_begun or sql.startswith("SAVEPOINT"):
            await self._sql(sql)

    async def applied(self) -> list[tuple[int, str]]:
        """(version, checksum) of the migrations so far."""
        rows = await self.fetch_sql(READ_BOOKKEEPING, ())
        return [(row["version"], row["checksum"]) for row in rows]

    async def run_script(self, sql: str) -> None:
        """Several statements."""
        await self._run(lambda connection: run_script(connection, sql))

    async def _sql(self, sql: str, arguments: Sequence[Any] | Mapping[str, Any] = ()) -> Fetched:
        return await self._run(lambda connection: run(connection, sql, arguments), sql)

    async def _run(self, work: Callable[[sqlite3.Connection], T], sql: str = "") -> T:
        self._require_open()

        def step(connection: sqlite3.Connection) -> T:
            if not self._has_begun:
                connection.execute("BEGIN IMMEDIATE")
                self._has_begun = True
                self._newest_before = 0 if self._skip is None else newest_change(connection)
            # An interrupted write makes SQLite roll back on its own; going on would commit statement by statement.
            elif not connection.in_transaction:
                raise GatewayDBError("the transaction was rolled back by the database; nothing of it remains")
            return work(connection)

        return await self._writer.run_when_free(step, sql, self._timeout_s)


def _commit(connection: sqlite3.Connection) -> int:
    newest = newest_change(connection)
    connection.execute("COMMIT")
    return newest


def _placed(sql: str, arguments: Sequence[Any]) -> Sequence[Any] | Mapping[str, Any]:
    values = [encoded(value) for value in arguments]
    numbers = [int(number) for number in _NUMBERED.findall(sql)]
    if not numbers:
        return values
    # SQLite counts values in a row, but not values by name.
    if len(values) > max(numbers):
        raise InvalidValueError(f"{len(values)} arguments are too many for this SQL")
    return {str(number): value for number, value in enumerate(values, 1)}
