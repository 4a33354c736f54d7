"""Reads from SQLite: an API key through the public face, and the same SQL through the drivers alone."""

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from time import perf_counter

import aiosqlite

from benchmarks.databases import SQLITE, Bench
from benchmarks.harness import Pass, Row, at_least, at_most, interleaved, seconds_each
from gatewaydb import APIKey, Database
from gatewaydb.engines.statements import load_statements

MISS, BY_ID, RAW, RAW_BY_ID, THREADED = "get_by_hash, a miss", "get_by_id", "sqlite3", "sqlite3, by id", "aiosqlite"
GOALS = (
    (BY_ID, RAW_BY_ID, at_most(2)),
    (BY_ID, THREADED, at_least(8)),
    (MISS, RAW, at_most(2)),
    (MISS, THREADED, at_least(8)),
)


def measure(bench: Bench) -> list[Row]:
    """A read by id, which is never cached, and one by hash that misses the cache and fills it."""
    return asyncio.run(_rows(bench))


async def _rows(bench: Bench) -> list[Row]:
    url = await bench.make_database(SQLITE)
    path = url.removeprefix("sqlite:///")
    async with Database(url) as db, aiosqlite.connect(path, cached_statements=256) as threaded:
        keys = await _create_keys(db, bench.sizes.keys)
        with closing(sqlite3.connect(path, isolation_level=None, cached_statements=256)) as connection:
            passes = _our_passes(db, keys) | _driver_passes(connection, threaded, keys, bench.sizes.slow_calls)
            timings = await interleaved(passes, bench.sizes.rounds)
    return [timings.row(subject, against, goal, benchmark="sqlite", on=SQLITE) for subject, against, goal in GOALS]


def _our_passes(db: Database, keys: Sequence[APIKey]) -> dict[str, Pass]:
    async def miss() -> float:
        for key in keys:
            db.api_keys.invalidate_cache(key.key_hash)
        return await seconds_each(db.api_keys.get_by_hash, [key.key_hash for key in _shuffled(keys)])

    return {
        MISS: miss,
        BY_ID: lambda: seconds_each(db.api_keys.get_by_id, [key.id for key in _shuffled(keys)]),
    }


def _driver_passes(
    connection: sqlite3.Connection, threaded: aiosqlite.Connection, keys: Sequence[APIKey], slow_calls: int
) -> dict[str, Pass]:
    statements = load_statements("sqlite")
    by_hash, by_id = statements["api_key_find_by_hash"].sql, statements["api_key_find_by_id"].sql

    async def in_thread(key_hash: str) -> object:
        async with threaded.execute(by_hash, (key_hash,)) as cursor:
            return await cursor.fetchone()

    async def directly(sql: str, values: Sequence[str]) -> float:
        start = perf_counter()
        for value in values:
            connection.execute(sql, (value,)).fetchone()
        return (perf_counter() - start) / len(values)

    return {
        RAW: lambda: directly(by_hash, [key.key_hash for key in _shuffled(keys)]),
        RAW_BY_ID: lambda: directly(by_id, [str(key.id) for key in _shuffled(keys)]),
        THREADED: lambda: seconds_each(in_thread, [key.key_hash for key in _shuffled(keys)][:slow_calls]),
    }


def _shuffled(keys: Sequence[APIKey]) -> list[APIKey]:
    return random.sample(keys, len(keys))


async def _create_keys(db: Database, count: int) -> list[APIKey]:
    keys = [
        APIKey(
            name=f"service-{number:04}",
            key_hash=sha256(str(number).encode()).hexdigest(),
            allowed_models=("gpt-4o", "gpt-4o-mini"),
            rate_limit_per_minute=600,
            monthly_budget_usd=Decimal("250.50"),
            expires_at=datetime.now(UTC) + timedelta(days=90),
            metadata={"owner": {"team": "search"}},
        )
        for number in range(count)
    ]
    async with db.transaction() as tx:
        for key in keys:
            await tx.api_keys.create(key)
    return keys
