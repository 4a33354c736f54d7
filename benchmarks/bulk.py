"""Recording usage in bulk: `create_many` against the least that its engine could do, and the room that records take."""

import asyncio
import sqlite3
from contextlib import closing
from operator import itemgetter
from time import perf_counter
from typing import Any

import asyncpg
import msgspec
import psutil

from benchmarks.databases import POSTGRES, SQLITE, Bench, on_engines
from benchmarks.harness import Pass, Row, Timings, at_least, at_most, interleaved, row_of
from benchmarks.usage import records
from gatewaydb import Database
from gatewaydb.engines.sqlite_connection import connect_writer
from gatewaydb.engines.statements import load_statements
from gatewaydb.repositories.usage_records import usage_row

BULK, COPY, SINGLE = "create_many", "plain COPY", "single commits"
READY = "its load of checked records"


def measure(bench: Bench) -> list[Row]:
    """Each record once, with all summaries. The plain COPY goes into a table like a partition, without triggers."""
    return asyncio.run(on_engines(bench, _rows))


async def _rows(bench: Bench, engine: str) -> list[Row]:
    url = await bench.make_database(engine)
    compare = _beside_single_commits if engine == SQLITE else _beside_copy
    async with Database(url) as db:
        timings, rows = await compare(bench, db, url)
        rates = [1 / seconds for seconds in timings.seconds[BULK]]
        rows.append(row_of(rates, benchmark="bulk", subject=BULK, on=engine, unit="rows/s"))
        return [*rows, await _growth(bench, db, engine)]


async def _beside_single_commits(bench: Bench, db: Database, url: str) -> tuple[Timings, list[Row]]:
    with closing(connect_writer(url.removeprefix("sqlite:///"), db.config.query_timeout)) as connection:
        passes = {BULK: _bulk(db, bench.sizes.usage_bulk), SINGLE: _single_commits(connection)}
        timings = await interleaved(passes, bench.sizes.usage_rounds)
    return timings, [timings.row(BULK, SINGLE, at_least(12), benchmark="bulk", on=SQLITE)]


async def _beside_copy(bench: Bench, db: Database, url: str) -> tuple[Timings, list[Row]]:
    connection = await asyncpg.connect(url)
    number = bench.sizes.usage_bulk
    passes = {BULK: _bulk(db, number), READY: _load(db, number), COPY: await _copy(connection, number)}
    timings = await interleaved(passes, bench.sizes.usage_rounds)
    await connection.close()
    rows = []
    for subject, goal in ((BULK, at_least(65)), (READY, None)):
        speed, unit = [100 * ratio for ratio in timings.ratios(COPY, subject)], "% of its speed"
        rows.append(row_of(speed, benchmark="bulk", subject=subject, against=COPY, on=POSTGRES, unit=unit, goal=goal))
    return timings, [*rows, await _bytes_each(db)]


def _bulk(db: Database, number: int) -> Pass:
    async def run() -> float:
        batch = records(number)
        start = perf_counter()
        await db.usage.create_many(batch)
        return (perf_counter() - start) / number

    return run


def _load(db: Database, number: int) -> Pass:
    """As `create_many`, of records that were checked and made into rows before: what is left is the database's work."""

    async def run() -> float:
        rows = _in_order(number)
        start = perf_counter()
        async with db._engine.transaction() as tx:
            await tx.load("usage_record_load", rows)
        return (perf_counter() - start) / number

    return run


async def _copy(connection: Any, number: int) -> Pass:
    _, columns = load_statements("postgres")["usage_record_load"].copied
    partition = await connection.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', '\"usage_records_\"YYYY_MM')")
    await connection.execute(f"CREATE TABLE plain (LIKE {partition} INCLUDING ALL)")

    async def run() -> float:
        rows = [[row[column] for column in columns] for row in _in_order(number)]
        start = perf_counter()
        await connection.copy_records_to_table("plain", columns=columns, records=rows)
        return (perf_counter() - start) / number

    return run


def _single_commits(connection: sqlite3.Connection) -> Pass:
    insert = load_statements("sqlite")["usage_record_insert"].sql

    async def run() -> float:
        batches = [f"[{msgspec.json.encode(row).decode()}]" for row in _in_order(100)]
        start = perf_counter()
        for batch in batches:
            connection.execute(insert, [batch])
        return (perf_counter() - start) / len(batches)

    return run


async def _bytes_each(db: Database) -> Row:
    async with db.transaction() as tx:
        [row] = await tx.fetch(
            "SELECT sum(pg_total_relation_size(inhrelid)) / (SELECT count(*) FROM usage_records)::float AS each "
            "FROM pg_inherits WHERE inhparent = 'usage_records'::regclass"
        )
    subject = "a record with its indexes"
    return row_of([row["each"]], benchmark="bulk", subject=subject, on=POSTGRES, unit="bytes", goal=at_most(400))


async def _growth(bench: Bench, db: Database, engine: str) -> Row:
    """The most memory that the process took for many records, beside what it took for the first tenth of them."""
    chunks, number = 100, bench.sizes.usage_total // 100
    process, sizes = psutil.Process(), []
    for _ in range(chunks):
        await db.usage.create_many(records(number))
        sizes.append(process.memory_info().rss)
    growth = max(sizes) / max(sizes[: chunks // 10])
    subject, figures = f"memory for {chunks * number:,} records", f"{max(sizes) / 2**20:.0f} MiB"
    names = {"benchmark": "bulk", "subject": subject, "against": "for a tenth", "on": engine}
    return row_of([growth], unit="x", goal=at_most(1.1), figures=figures, **names)


def _in_order(number: int) -> list[dict[str, Any]]:
    """New records as rows, sorted as `create_many` sorts them."""
    key = itemgetter("api_key_id", "request_id")
    return sorted((usage_row(record.checked()) for record in records(number)), key=key)
