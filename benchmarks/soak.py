"""`make soak`: usage is recorded at a steady rate while PostgreSQL is killed and restarted, and nothing may be lost."""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Annotated, Any
from uuid import UUID

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from gatewaydb import Database, RecorderStats, UsageRecord, UsageRecorder
from tests.postgres_server import PostgresServer

KEYS = [UUID(int=number) for number in range(1, 21)]
COST = Decimal("0.000000000007")
TICK_S = 0.01
KILL_EVERY_S = 20.0
DOWN_S = 3.0
Positive = Annotated[float, Parameter(negative=())]

app = App(name="python -m benchmarks.soak", help="Record usage while PostgreSQL is killed.", help_format="plaintext")


class Soak:
    """What was recorded, acknowledged and how long each call took."""

    def __init__(self, recorder: UsageRecorder) -> None:
        self._recorder = recorder
        self._running: set[asyncio.Task[None]] = set()
        self.recorded = 0
        self.acknowledged: list[UUID] = []
        self.seconds: list[float] = []

    async def run(self, rate: float, seconds: float) -> None:
        """So many records a second, however long each of them takes."""
        start = perf_counter()
        while (passed := perf_counter() - start) < seconds:
            for _ in range(int(rate * passed) - self.recorded):
                task = asyncio.create_task(
                    self._record(
                        UsageRecord(
                            api_key_id=KEYS[self.recorded % len(KEYS)],
                            prompt_tokens=1,
                            cost_usd=COST,
                            model_name="gpt-4o",
                        )
                    )
                )
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                self.recorded += 1
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*self._running)

    async def _record(self, record: UsageRecord) -> None:
        start = perf_counter()
        await self._recorder.record(record)
        self.seconds.append(perf_counter() - start)
        self.acknowledged.append(record.id)


@app.default
def run(*, minutes: Positive = 10.0, rate: Positive = 300.0) -> int:
    """Print what was recorded, acknowledged and stored. The exit code is 1 if anything was lost or counted twice.

    Parameters
    ----------
    minutes
        How long to record.
    rate
        Records a second.
    """
    with tempfile.TemporaryDirectory(prefix="gatewaydb-soak-") as folder, PostgresServer() as server:
        return asyncio.run(_soak(server, Path(folder) / "journal", minutes * 60, rate))


async def _soak(server: PostgresServer, journal: Path, seconds: float, rate: float) -> int:
    await Database(server.url()).migrate()
    async with Database(server.url()) as db:
        recorder = db.recorder(journal)
        soak = Soak(recorder)
        ending = asyncio.Event()
        killing = asyncio.create_task(_kill_now_and_then(server, ending))
        await soak.run(rate, seconds)
        ending.set()
        await killing
        await recorder.flush()
        found = await _found(db, soak)
        stats = recorder.stats()
    return _show(soak, stats, found)


async def _kill_now_and_then(server: PostgresServer, ending: asyncio.Event) -> None:
    progress = Console(stderr=True)
    while not await _within(KILL_EVERY_S - DOWN_S, ending):
        progress.print("killing PostgreSQL ...", style="dim")
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(DOWN_S)
        await asyncio.to_thread(server.restart)


async def _within(seconds: float, ending: asyncio.Event) -> bool:
    """Waits so long at most; tells whether the end has come."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), seconds)
    return ending.is_set()


async def _found(db: Database, soak: Soak) -> dict[str, Any]:
    async with db.transaction() as tx:
        stored = [row["id"] for row in await tx.fetch("SELECT id FROM usage_records")]
    summaries = [summary for key in KEYS for summary in await db.monthly_summaries.get_by_api_key(key)]
    in_database = {UUID(str(each)) for each in stored}
    summed = sum(summary.total_requests for summary in summaries)
    return {
        "in database": len(stored),
        "lost": len(set(soak.acknowledged) - in_database),
        "duplicated": len(stored) - len(in_database) + max(0, summed - len(stored)),
        "requests in summaries": summed,
        "cost in summaries": sum(summary.total_cost_usd for summary in summaries),
    }


def _show(soak: Soak, stats: RecorderStats, found: dict[str, Any]) -> int:
    cuts = quantiles(soak.seconds, n=100)
    fields = {
        "recorded": soak.recorded,
        "acknowledged": len(soak.acknowledged),
        **found,
        "dropped": stats.dropped,
        "record() p50": f"{cuts[49] * 1000:.2f} ms",
        "record() p99": f"{cuts[98] * 1000:.2f} ms",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in fields.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)
    stored = found["in database"]
    is_whole = found["requests in summaries"] == stored and found["cost in summaries"] == stored * COST
    return 0 if is_whole and not (found["lost"] or found["duplicated"] or stats.dropped) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    code: int = app(arguments, result_action="return_value")
    return code


if __name__ == "__main__":
    sys.exit(main())
