"""Cold keys on PostgreSQL, asked for by many callers at once, and by one alone; each ends as a record in the cache."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from statistics import quantiles
from time import perf_counter

from msgspec.structs import replace

from benchmarks.databases import POSTGRES, Bench
from benchmarks.harness import Pass, Row, Timings, at_least, at_most, interleaved, seconds_each
from benchmarks.hits import LOOPS
from gatewaydb import Database, DatabaseConfig
from gatewaydb.cache import Memory, ReadThrough
from gatewaydb.clock import SYSTEM_CLOCK
from gatewaydb.engines.coalescing import Direct, Lookup
from gatewaydb.engines.postgres import PostgresEngine
from gatewaydb.engines.statements import load_statements
from gatewaydb.repositories.rows import api_key_to_keep

SUBJECT, AGAINST = "cold get_by_hash, {} at once", "one query a miss, {} at once"
ALONE, BARE = "cold get_by_hash, alone", "bare fetchrow"
GOALS = {32: at_least(3), 200: at_least(5)}


def measure(bench: Bench) -> list[Row]:
    """Each row on asyncio's own loop and on uvloop."""
    rows: list[Row] = []
    for loop, factory in LOOPS.items():
        with asyncio.Runner(loop_factory=factory) as runner:
            rows += runner.run(_rows(bench, loop))
    return rows


async def _rows(bench: Bench, loop: str) -> list[Row]:
    count = bench.sizes.cold_keys
    config = DatabaseConfig(url=await bench.make_database(POSTGRES), api_key_cache_size=count, query_timeout="1m")
    async with Database(config) as db:
        async with db.transaction() as tx:
            hashes = [(await tx.api_keys.issue(f"key {number}"))[0].key_hash for number in range(count)]
        at_once = _AtOnce(db, hashes)
        timings = await interleaved(at_once.passes(), bench.sizes.miss_rounds)
        alone = await interleaved(_alone(db, hashes[: bench.sizes.slow_calls // 2]), bench.sizes.miss_rounds * 4)
    names = {"benchmark": "misses", "on": loop}
    rows = [
        row
        for callers, goal in GOALS.items()
        for row in (
            timings.row(SUBJECT.format(callers), AGAINST.format(callers), goal, **names),
            _p99_row(at_once.p99, callers, names),
        )
    ]
    return [*rows, alone.row(ALONE, BARE, at_most(1.3), **names)]


class _AtOnce:
    """Callers who each take the next key when they have the last; and the slowest percents of each pass."""

    def __init__(self, db: Database, hashes: Sequence[str]) -> None:
        self._db = db
        self._hashes = hashes
        self.p99: dict[str, list[float]] = {}

    def passes(self) -> dict[str, Pass]:
        keys = self._db.api_keys
        memory = Memory[str, object](len(self._hashes), self._db.config.api_key_cache_ttl, SYSTEM_CLOCK)
        each = ReadThrough(memory, Direct(Lookup(keys._find, keys._find_many, api_key_to_keep)), "API keys")
        passes: dict[str, Pass] = {}
        for callers in GOALS:
            passes[SUBJECT.format(callers)] = self._pass(SUBJECT, callers, keys.get_by_hash)
            passes[AGAINST.format(callers)] = self._pass(AGAINST, callers, each.fetch, each.forget_all)
        return passes

    def _pass(
        self,
        name: str,
        callers: int,
        read: Callable[[str], Awaitable[object]],
        forget: Callable[[], None] | None = None,
    ) -> Pass:
        async def run() -> float:
            (forget or (lambda: self._db.api_keys.apply_change(None)))()
            waits: list[float] = []
            todo = iter(self._hashes)

            async def call() -> None:
                for key_hash in todo:
                    start = perf_counter()
                    await read(key_hash)
                    waits.append(perf_counter() - start)

            start = perf_counter()
            await asyncio.gather(*(call() for _ in range(callers)))
            took = perf_counter() - start
            self.p99.setdefault(name.format(callers), []).append(quantiles(waits, n=100)[-1])
            return took / len(self._hashes)

        return run


def _p99_row(p99: dict[str, list[float]], callers: int, names: dict[str, str]) -> Row:
    # The first round does not count.
    timings = Timings({name: seconds[1:] for name, seconds in p99.items()})
    row = timings.row(SUBJECT.format(callers), AGAINST.format(callers), at_most(0.1), **names)
    return replace(row, subject=f"{row.subject}, p99")


def _alone(db: Database, hashes: Sequence[str]) -> dict[str, Pass]:
    assert isinstance(db._engine, PostgresEngine)
    pool = db._engine._pool
    sql = load_statements("postgres")["api_key_find_by_hash"].sql

    async def bare(key_hash: str) -> object:
        async with pool.connection() as connection:
            return await connection.fetchrow(sql, key_hash)

    async def alone() -> float:
        db.api_keys.apply_change(None)
        return await seconds_each(db.api_keys.get_by_hash, hashes)

    return {ALONE: alone, BARE: lambda: seconds_each(bare, hashes)}
