"""How long a key that one process switches off is still accepted by others, which are busy meanwhile."""

import asyncio
import random
import subprocess
import sys
import time
from asyncio.subprocess import Process
from statistics import median, quantiles

from benchmarks.databases import POSTGRES, SQLITE, Bench, on_engines
from benchmarks.harness import Row, at_most
from gatewaydb import APIKeyDisabledError, Database, UsageRecord

GOALS = {SQLITE: at_most(150), POSTGRES: at_most(50)}
BUSY_KEYS = 50
PAUSE_S = 0.02
LOOK_AGAIN_S = 0.002


def measure(bench: Bench) -> list[Row]:
    """From the call that switches the key off, its commit included, to the first refusal in each other process."""
    return asyncio.run(on_engines(bench, _rows))


async def _rows(bench: Bench, engine: str) -> list[Row]:
    url = await bench.make_database(engine)
    async with Database(url) as db:
        keys = [await db.api_keys.issue("revoked") for _ in range(bench.sizes.coherence_rounds)]
        busy = [(await db.api_keys.issue("busy"))[1] for _ in range(BUSY_KEYS)]
        processes = [await _start(url, busy) for _ in range(bench.sizes.coherence_processes)]
        waits_ms: list[float] = []
        for key, secret in keys:
            await asyncio.gather(*(_ask(process, secret) for process in processes))
            start = time.monotonic_ns()
            await db.api_keys.set_enabled(key.id, False)
            refused = await asyncio.gather(*map(_answer, processes))
            waits_ms += [(int(moment) - start) / 1e6 for moment in refused]
        for process in processes:
            await process.communicate(b"\n")
    p99 = quantiles(waits_ms, n=100, method="inclusive")[98]
    figures = (
        f"{len(processes)} processes, {len(keys)} keys; p50 {median(waits_ms):.1f} ms, worst {max(waits_ms):.1f} ms"
    )
    return [
        Row(
            benchmark="coherence",
            subject="refused elsewhere, p99",
            on=engine,
            unit="ms",
            value=p99,
            low=median(waits_ms),
            high=max(waits_ms),
            goal=GOALS[engine],
            is_met=GOALS[engine].is_met(p99),
            figures=figures,
        )
    ]


async def _start(url: str, busy: list[str]) -> Process:
    command = [sys.executable, "-m", __name__, url, *busy]
    return await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def _ask(process: Process, secret: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{secret}\n".encode())
    assert await _answer(process) == "accepted"


async def _answer(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def _serve(url: str, busy: list[str]) -> None:
    """Another process: keeps busy, and says when it refuses the key that it was given."""
    async with Database(url) as db:
        working = asyncio.create_task(_work(db, busy))
        while secret := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await db.api_keys.authenticate(secret)
            print("accepted", flush=True)
            print(await _refused(db, secret), flush=True)
        working.cancel()
        await asyncio.wait([working])


async def _work(db: Database, secrets: list[str]) -> None:
    while True:
        keys = [await db.api_keys.authenticate(secret) for secret in random.choices(secrets, k=10)]
        await db.usage.create(UsageRecord(api_key_id=keys[0].id, prompt_tokens=1))
        await asyncio.sleep(PAUSE_S)


async def _refused(db: Database, secret: str) -> int:
    # time.monotonic_ns is one clock for all processes of a machine.
    while True:
        try:
            await db.api_keys.authenticate(secret)
        except APIKeyDisabledError:
            return time.monotonic_ns()
        await asyncio.sleep(LOOK_AGAIN_S)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2:]))
