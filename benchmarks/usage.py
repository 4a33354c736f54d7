"""Recording usage: many tasks at once, each waiting until its record is committed, and batches."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import count
from time import perf_counter
from uuid import UUID

from benchmarks.databases import POSTGRES, SQLITE, Bench, on_engines
from benchmarks.harness import Pass, Row, at_least, interleaved, row_of
from gatewaydb import Database, DatabaseConfig, UsageRecord

KEYS = 100
BATCH = 500
TOGETHER, ALONE, BULK = "create by tasks at once", "one INSERT each", f"create_many({BATCH})"
GOALS = {SQLITE: at_least(12), POSTGRES: at_least(5)}
NUMBERS = count()


def measure(bench: Bench) -> list[Row]:
    """On each engine, with the summaries kept up to date and each record counted once."""
    return asyncio.run(on_engines(bench, _rows))


async def _rows(bench: Bench, engine: str) -> list[Row]:
    # On a slow disk the last of a thousand single commits may wait longer than a gateway would.
    config = DatabaseConfig(url=await bench.make_database(engine), query_timeout="5m")
    tasks, rounds = bench.sizes.usage_tasks, bench.sizes.usage_rounds
    async with Database(config) as db:
        timings = await interleaved(_passes(db, tasks), rounds)
    rates = [1 / seconds for seconds in timings.seconds[BULK]]
    return [
        timings.row(TOGETHER, ALONE, GOALS[engine], benchmark="usage", on=engine),
        row_of(rates, benchmark="usage", subject=BULK, on=engine, unit="rows/s"),
    ]


def _passes(db: Database, tasks: int) -> dict[str, Pass]:
    keys = [UsageRecord(api_key_id=UUID(int=0)).id for _ in range(KEYS)]
    model = UsageRecord(api_key_id=UUID(int=0)).id

    def records(number: int) -> list[UsageRecord]:
        return [_record(keys[next(NUMBERS) % KEYS], model) for _ in range(number)]

    async def alone(record: UsageRecord) -> object:
        return await db.usage.create_many([record])

    async def bulk() -> float:
        batch = records(BATCH)
        start = perf_counter()
        await db.usage.create_many(batch)
        return (perf_counter() - start) / BATCH

    return {
        TOGETHER: lambda: _seconds_each_at_once(db.usage.create, records(tasks)),
        ALONE: lambda: _seconds_each_at_once(alone, records(tasks)),
        BULK: bulk,
    }


async def _seconds_each_at_once(write: Callable[[UsageRecord], Awaitable[object]], records: list[UsageRecord]) -> float:
    start = perf_counter()
    await asyncio.gather(*map(write, records))
    return (perf_counter() - start) / len(records)


def _record(api_key_id: UUID, model_id: UUID) -> UsageRecord:
    return UsageRecord(
        api_key_id=api_key_id,
        model_id=model_id,
        model_name="gpt-4o",
        prompt_tokens=1_200,
        completion_tokens=300,
        cached_tokens=800,
        cost_usd=Decimal("0.005"),
        price_version=1,
        request_id=f"request-{next(NUMBERS)}",
        endpoint="/v1/chat/completions",
        response_time_ms=850,
        status_code=200,
        request_metadata={"user": "someone", "stream": True},
    )
