"""Many rows on their way into a table of SQLite: the next ones are made while its thread inserts those before them."""

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import cache, partial
from itertools import chain, islice
from typing import Any

import msgspec

from gatewaydb.engines.sqlite_connection import bound
from gatewaydb.engines.statements import Statement

Block = tuple[str, list[Any]]
"""A statement with its values."""

_BLOCK_ROWS = 250
_VALUES = re.compile(r"\(\s*\?[\s,?]*\)")


def blocks_of(insert: Statement, insert_rest: Statement, rows: Iterator[Mapping[str, Any]]) -> Iterator[Block]:
    """`insert` takes a whole block of rows, `insert_rest` a shorter list as JSON.

    A statement for each row would ask for Python's own lock each time, and wait 5 ms for it beside a busy loop.
    """
    while block := list(islice(rows, _BLOCK_ROWS)):
        values = [bound(insert, row) for row in block]
        if len(block) == _BLOCK_ROWS:
            yield _of_many_rows(insert.sql), list(chain.from_iterable(values))
        else:
            objects = [dict(zip(insert.parameters, row, strict=True)) for row in values]
            yield insert_rest.sql, [msgspec.json.encode(objects).decode()]


async def insert_ahead(
    blocks: Iterator[Block], run: Callable[[Callable[[sqlite3.Connection], int]], Awaitable[int]]
) -> int:
    """Gives `run` work that inserts one block after the other; the number of rows that came in."""
    inserted, block = 0, next(blocks, None)
    while block is not None:
        has_begun = asyncio.Event()
        inserting = asyncio.ensure_future(run(_work(block, has_begun)))
        inserting.add_done_callback(partial(_set, has_begun))
        try:
            # Before that, making the next block would keep the thread from beginning: it needs Python's lock, too.
            await has_begun.wait()
            block = next(blocks, None)
        finally:
            inserted += await inserting
    return inserted


def _work(block: Block, has_begun: asyncio.Event) -> Callable[[sqlite3.Connection], int]:
    loop = asyncio.get_running_loop()

    def insert(connection: sqlite3.Connection) -> int:
        loop.call_soon_threadsafe(has_begun.set)
        return connection.execute(*block).rowcount

    return insert


def _set(event: asyncio.Event, _: object) -> None:
    event.set()


@cache
def _of_many_rows(sql: str) -> str:
    return _VALUES.sub(lambda row: ", ".join([row[0]] * _BLOCK_ROWS), sql)
