"""The recorder: many tasks at once, each waiting until its record is safe on local disk."""

import asyncio
import os
import tempfile
from decimal import Decimal
from itertools import count
from pathlib import Path
from time import perf_counter
from uuid import UUID

from benchmarks.databases import Bench
from benchmarks.harness import Pass, Row, at_least, interleaved, row_of
from gatewaydb import Database, UsageRecord, UsageRecorder
from gatewaydb.metering.files import sync
from gatewaydb.metering.frames import encode
from gatewaydb.metering.shipper import encoded

TOGETHER, ALONE, SYNCS = "record by tasks at once", "record, one by one", "one fdatasync each"
SYNCS_A_PASS = 50
KEY = UUID(int=1)
NUMBERS = count()


def measure(bench: Bench) -> list[Row]:
    """With no database behind it: what is measured is the way to the disk. The records are as large in all passes."""
    return asyncio.run(_rows(bench))


async def _rows(bench: Bench) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="gatewaydb-bench-") as folder:
        db = Database("sqlite:///never-opened.db")
        recorder = db.recorder(Path(folder) / "journal", max_bytes=2**33)
        async with recorder:
            passes = _passes(recorder, bench.sizes.usage_tasks, Path(folder) / "single")
            timings = await interleaved(passes, bench.sizes.usage_rounds)
    rates = [1 / seconds for seconds in timings.seconds[TOGETHER]]
    return [
        timings.row(TOGETHER, SYNCS, at_least(30), benchmark="journal"),
        row_of(rates, benchmark="journal", subject=TOGETHER, unit="records/s"),
        row_of(timings.ratios(ALONE, SYNCS), benchmark="journal", subject=ALONE, against=SYNCS, unit="x"),
    ]


def _passes(recorder: UsageRecorder, tasks: int, single: Path) -> dict[str, Pass]:
    def records(number: int) -> list[UsageRecord]:
        return [_record() for _ in range(number)]

    async def together() -> float:
        batch = records(tasks)
        start = perf_counter()
        await asyncio.gather(*map(recorder.record, batch))
        return (perf_counter() - start) / tasks

    async def alone() -> float:
        batch = records(SYNCS_A_PASS)
        start = perf_counter()
        for record in batch:
            await recorder.record(record)
        return (perf_counter() - start) / SYNCS_A_PASS

    async def syncs() -> float:
        batch = records(SYNCS_A_PASS)
        file = os.open(single, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        start = perf_counter()
        for number, record in enumerate(batch):
            os.write(file, encode(number, encoded(record.checked()), 0))
            sync(file)
        took = perf_counter() - start
        os.close(file)
        return took / SYNCS_A_PASS

    return {TOGETHER: together, ALONE: alone, SYNCS: syncs}


def _record() -> UsageRecord:
    return UsageRecord(
        api_key_id=KEY,
        model_id=KEY,
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
