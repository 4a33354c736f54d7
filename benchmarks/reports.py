"""Reports over 30 days of ten million records, the last of which are of today.

The records themselves are left out, unless `report_records` asks for so many: what is filled in are the daily summaries
that they would have left. No report reads anything else.
"""

import asyncio
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import Any, get_args
from uuid import UUID

import asyncpg

from benchmarks.databases import POSTGRES, SQLITE, Bench, on_engines
from benchmarks.harness import Row, at_most, row_of, without_gc
from gatewaydb import APIKey, Database, DatabaseConfig, Model
from gatewaydb.engines.statements import load_statements
from gatewaydb.entities import ReportBy
from gatewaydb.metering import settle_days

RECORDS, MODELS, DAYS, CALLS = 10_000_000, 20, 30, 20
SPAN = timedelta(days=DAYS - 1)
GOALS_MS = {SQLITE: at_most(100), POSTGRES: at_most(50)}
STATUS = {2: 0.98, 4: 0.015, 5: 0.005}
BATCH = 10_000
SUMMARY = (
    "day, api_key_id, route_id, status_class, total_requests, unpriced_requests, total_prompt_tokens, "
    "total_completion_tokens, total_tokens, total_cached_tokens"
)
# Ranks are drawn as exp(u ln n), which is Zipf's law, so that all ways to fill a database agree. Records come in the
# order of their times, and so do their ids.
INSERT_RECORDS = """
INSERT INTO usage_records (
    id, api_key_id, model_id, request_timestamp, route_id, prompt_tokens, completion_tokens, total_tokens,
    cached_tokens, response_time_ms, status_code, cost_usd, request_id
)
SELECT
    (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || substr(md5(random()::text), 13))::uuid,
    ($1::uuid[])[key], ($2::uuid[])[model], at, model,
    1200, 300, 1500, 800, 850, CASE WHEN luck < 0.98 THEN 200 WHEN luck < 0.995 THEN 429 ELSE 500 END,
    0.001234567891 * model, 'request-' || n
FROM (
    SELECT
        n, $6::timestamptz - ($5 - n)::float / $5 * interval '29 days' AS at, random() AS luck,
        floor(exp(random() * ln(cardinality($1::uuid[]) + 1)))::integer AS key,
        floor(exp(random() * ln(cardinality($2::uuid[]) + 1)))::integer AS model
    FROM generate_series($3::bigint, $4::bigint) AS n
) AS drawn
"""


def measure(bench: Bench) -> list[Row]:
    """Each kind of report on each engine, with all days settled but those that are not over."""
    return asyncio.run(on_engines(bench, _rows))


async def _rows(bench: Bench, engine: str) -> list[Row]:
    url = await bench.make_database(engine)
    async with Database(DatabaseConfig(url=url, query_timeout="10m")) as db:
        summaries = await _filled(db, url, bench)
        figures = f"{summaries:,} summaries of {bench.sizes.report_records or RECORDS:,} records"
        before = await _milliseconds(db, "key")
        await settle_days(db._engine)
        await _analyze(url)
        seconds: dict[ReportBy, list[list[float]]] = {by: [] for by in get_args(ReportBy)}
        for _ in range(bench.sizes.report_rounds):
            for by, rounds in seconds.items():
                rounds.append([await _milliseconds(db, by) for _ in range(CALLS)])
    rows = [
        row_of(
            [quantiles(samples, n=20)[-1] for samples in rounds],
            benchmark="reports",
            subject=f"30 days by {by}, p95",
            on=engine,
            unit="ms",
            goal=GOALS_MS[engine],
            figures=f"p50 {median(each for samples in rounds for each in samples):.3g} ms; {figures}",
        )
        for by, rounds in seconds.items()
    ]
    unsettled = row_of([before], benchmark="reports", subject="by key, nothing settled", on=engine, unit="ms")
    return [*rows, unsettled]


async def _milliseconds(db: Database, by: ReportBy) -> float:
    today = datetime.now(UTC).date()
    with without_gc():
        start = perf_counter()
        await db.daily_summaries.report(by, today - timedelta(days=DAYS - 1), today + timedelta(days=1), limit=50)
        return (perf_counter() - start) * 1000


async def _filled(db: Database, url: str, bench: Bench) -> int:
    """Fills a database; gives the number of its daily summaries."""
    keys = [(await db.api_keys.issue(f"key {n}", metadata=_tags(n)))[0] for n in range(bench.sizes.report_keys)]
    models = [
        await db.models.create(Model(name=f"model-{n}", litellm_provider=f"maker {n % 4}")) for n in range(MODELS)
    ]
    async with db.transaction() as tx:
        for number, model in enumerate(models, 1):
            await tx.execute(
                "INSERT INTO usage_routes (id, model_id, model_name, endpoint) VALUES ($1, $2, $3, '/v1/chat')",
                number,
                model.id if url.startswith("postgres") else str(model.id),
                model.name,
            )
    if bench.sizes.report_records:
        insert = _insert_into_postgres if url.startswith("postgres") else _insert_into_sqlite
        await insert(url, keys, models, bench.sizes.report_records)
    else:
        await _load_summaries(url, _summaries(keys))
    return (await db.contents()).rows["daily_usage_summaries"]


def _tags(number: int) -> dict[str, dict[str, str]]:
    return {"tag": {"team": f"team {number % 25}"}} if number % 5 else {}


def _summaries(keys: list[APIKey]) -> Iterator[tuple[Any, ...]]:
    """The summaries that so many records would leave, each number of requests drawn as chance would have it."""
    random, today = Random(1), datetime.now(UTC).date()
    for day in (today - timedelta(days=n) for n in reversed(range(DAYS))):
        for rank, key in enumerate(keys, 1):
            for model in range(1, MODELS + 1):
                likely = RECORDS / DAYS * _share(rank, len(keys)) * _share(model, MODELS)
                for status_class, share in STATUS.items():
                    if requests := _poisson(random, likely * share):
                        tokens = (requests * 1200, requests * 300, requests * 1500, requests * 800)
                        yield (day, key.id, model, status_class, requests, 0, *tokens)


def _share(rank: int, count: int) -> float:
    return math.log((rank + 1) / rank) / math.log(count + 1)


def _poisson(random: Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    number, product, limit = 0, random.random(), math.exp(-mean)
    while product > limit:
        number, product = number + 1, product * random.random()
    return number


async def _load_summaries(url: str, rows: Iterator[tuple[Any, ...]]) -> None:
    if url.startswith("postgres"):
        await _copy(url, rows)
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.executemany(
            f"INSERT INTO daily_usage_summaries ({SUMMARY}, cost_microusd, cost_rest_picousd, last_request_at) "
            f"VALUES ({', '.join('?' * 13)})",
            (
                (
                    str(row[0]),
                    str(row[1]),
                    *row[2:],
                    row[4] * row[2] * 1234,
                    row[4] * row[2] * 567891,
                    _noon(row[0]).isoformat(timespec="microseconds"),
                )
                for row in rows
            ),
        )
        connection.commit()


async def _copy(url: str, rows: Iterator[tuple[Any, ...]]) -> None:
    columns = [*SUMMARY.split(", "), "total_cost_usd", "last_request_at"]
    complete = ((*row, row[4] * row[2] * Decimal("0.001234567891"), _noon(row[0])) for row in rows)
    connection = await asyncpg.connect(url)
    await connection.copy_records_to_table("daily_usage_summaries", records=complete, columns=columns)
    await connection.close()


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


async def _insert_into_postgres(url: str, keys: list[APIKey], models: list[Model], records: int) -> None:
    connection = await asyncpg.connect(url)
    ids = [key.id for key in keys], [model.id for model in models]
    now = datetime.now(UTC)
    for first in range(0, records, BATCH):
        await connection.execute(INSERT_RECORDS, *ids, first + 1, min(first + BATCH, records), records, now)
    await connection.close()


async def _insert_into_sqlite(url: str, keys: list[APIKey], models: list[Model], records: int) -> None:
    random, now = Random(1), datetime.now(UTC)
    rows = (
        _record(random, keys, models, number, now - (records - number) / records * SPAN) for number in range(records)
    )
    async with Database(DatabaseConfig(url=url, query_timeout="10m")) as db:
        for _ in range(0, records, BATCH):
            async with db._engine.transaction() as tx:
                await tx.load("usage_record_load", islice(rows, BATCH))


def _record(random: Random, keys: list[APIKey], models: list[Model], number: int, at: datetime) -> dict[str, Any]:
    model, luck = _rank(random, len(models)), random.random()
    return {
        **dict.fromkeys(load_statements("sqlite")["usage_record_load"].parameters),
        "id": UUID(int=int(at.timestamp() * 1000) << 80 | random.getrandbits(80)),
        "api_key_id": keys[_rank(random, len(keys)) - 1].id,
        "model_id": models[model - 1].id,
        "request_timestamp": at,
        "route_id": model,
        "prompt_tokens": 1200,
        "completion_tokens": 300,
        "total_tokens": 1500,
        "cached_tokens": 800,
        "reasoning_tokens": 0,
        "status_code": 200 if luck < 0.98 else 429 if luck < 0.995 else 500,
        "cost_picousd": 1234567891 * model,
        "request_id": f"request-{number}",
    }


def _rank(random: Random, count: int) -> int:
    return min(count, int(math.exp(random.random() * math.log(count + 1))))


async def _analyze(url: str) -> None:
    """As autovacuum would have it, and as the summaries of a SQLite database never are."""
    if url.startswith("postgres"):
        connection = await asyncpg.connect(url)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
