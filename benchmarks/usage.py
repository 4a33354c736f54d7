"""Recording usage one by one: many tasks at once, each waiting until its record is committed, and a task alone."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import count
from time import perf_counter
from uuid import UUID

from benchmarks.databases import POSTGRES, SQLITE, Bench, on_engines
from benchmarks.harness import Pass, Row, at_least, at_most, interleaved, seconds_each
from gatewaydb import Database, DatabaseConfig, UsageRecord
from gatewaydb.entities.base import new_id

KEYS = [new_id() for _ in range(100)]
MODELS = [(new_id(), f"model-{number}") for number in range(10)]
TOGETHER, ONE_BY_ONE = "create by tasks at once", "one INSERT each"
ALONE, PLAIN = "create alone", "a plain INSERT"
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

        async def plain(record: UsageRecord) -> object:
            return await db.usage.create_many([record])

        at_once = {TOGETHER: _at_once(db.usage.create, tasks), ONE_BY_ONE: _at_once(plain, tasks)}
        alone = {ALONE: _one_by_one(db.usage.create), PLAIN: _one_by_one(plain)}
        many = await interleaved(at_once, rounds)
        one = await interleaved(alone, rounds)
    return [
        many.row(TOGETHER, ONE_BY_ONE, GOALS[engine], benchmark="usage", on=engine),
        one.row(ALONE, PLAIN, at_most(1.3), benchmark="usage", on=engine),
    ]


def _at_once(write: Callable[[UsageRecord], Awaitable[object]], tasks: int) -> Pass:
    async def run() -> float:
        batch = records(tasks)
        start = perf_counter()
        await asyncio.gather(*map(write, batch))
        return (perf_counter() - start) / tasks

    return run


def _one_by_one(write: Callable[[UsageRecord], Awaitable[object]]) -> Pass:
    return lambda: seconds_each(write, records(20))


def records(number: int) -> list[UsageRecord]:
    """As a gateway would make them: a hundred keys, ten models, an id of the client's, some metadata."""
    return [_record(KEYS[n % len(KEYS)], *MODELS[n % 7 + n % 4], n) for n in (next(NUMBERS) for _ in range(number))]


def _record(api_key_id: UUID, model_id: UUID, model_name: str, number: int) -> UsageRecord:
    return UsageRecord(
        api_key_id=api_key_id,
        model_id=model_id,
        model_name=model_name,
        prompt_tokens=1_200 + number % 100,
        completion_tokens=300,
        cached_tokens=800,
        cost_usd=Decimal(5_123_000 + number % 1_000).scaleb(-9),
        price_version=1,
        request_id=f"request-{number:012}",
        endpoint="/v1/chat/completions",
        response_time_ms=850,
        status_code=200,
        request_metadata={"user": "someone", "stream": True},
    )
