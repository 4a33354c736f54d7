"""Export and import of usage by the command: how fast, and in how much memory."""

import asyncio
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.databases import ENGINES, Bench
from benchmarks.harness import Row, row_of
from gatewaydb import Database, UsageRecord
from gatewaydb.cli import main
from gatewaydb.entities.base import new_id
from tests.peak_memory import peak_kb

FORMATS = ("csv", "jsonl", "parquet")
START = datetime(2026, 1, 1, tzinfo=UTC)
PART = 10
"""A tenth of the records is exported beside all of them, and is to take as much memory."""


def measure(bench: Bench) -> list[Row]:
    """On each engine: records a second in each format, out and in and in again, and the peak of an export's memory."""
    with TemporaryDirectory(prefix="gatewaydb-bench-") as folder:
        return [row for engine in ENGINES for row in _rows(bench, engine, Path(folder))]


def _rows(bench: Bench, engine: str, folder: Path) -> Iterator[Row]:
    rows, rounds = bench.sizes.transfer_rows, range(bench.sizes.transfer_rounds)
    source = asyncio.run(_filled(bench, engine))
    for kind in FORMATS:
        export = ("export", "--output", str(folder / f"usage.{kind}"), "--database", source)
        rates = [rows / _seconds(*export) for _ in rounds]
        yield row_of(rates, subject=f"usage export, {kind}", benchmark="transfer", on=engine, unit="rows/s")
    for kind in FORMATS[:2]:
        targets = [asyncio.run(bench.make_database(engine)) for _ in rounds]
        for subject in (f"usage import, {kind}", f"the same again, {kind}"):
            file = str(folder / f"usage.{kind}")
            rates = [rows / _seconds("import", file, "--database", target) for target in targets]
            yield row_of(rates, subject=subject, benchmark="transfer", on=engine, unit="rows/s")
    until = ("usage", "export", "--output", str(folder / "usage.csv"), "--database", source, "--until")
    few, every = (peak_kb(*until, (START + timedelta(minutes=n)).isoformat()) for n in (rows // PART, rows))
    subject = f"peak memory of an export of {rows:,} records"
    figures = f"{every / 1000:.0f} MB : {few / 1000:.0f} MB"
    yield row_of(
        [every / few], benchmark="transfer", subject=subject, against="of a tenth", on=engine, unit="x", figures=figures
    )


async def _filled(bench: Bench, engine: str) -> str:
    url = await bench.make_database(engine)
    keys, model = [new_id() for _ in range(100)], new_id()
    records = [
        UsageRecord(
            api_key_id=keys[number % len(keys)],
            model_id=model,
            model_name="gpt-4o",
            request_timestamp=START + timedelta(minutes=number),
            prompt_tokens=1_200,
            completion_tokens=300,
            cached_tokens=800,
            cost_usd=Decimal("0.005"),
            price_version=1,
            request_id=f"request-{number}",
            endpoint="/v1/chat/completions",
            response_time_ms=850,
            status_code=200,
            request_metadata={"user": "someone", "stream": True},
        )
        for number in range(bench.sizes.transfer_rows)
    ]
    async with Database(url) as db:
        for first in range(0, len(records), 5_000):
            await db.usage.create_many(records[first : first + 5_000])
    return url


def _seconds(*command: str) -> float:
    start = perf_counter()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as errors:
        code = main(["usage", *command])
    if code:
        raise RuntimeError(errors.getvalue())
    return perf_counter() - start
