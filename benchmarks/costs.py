"""Pricing one request of a model whose prices were asked for before."""

import asyncio
from time import perf_counter

from benchmarks.databases import Bench
from benchmarks.harness import Pass, Row, at_most, interleaved, row_of
from gatewaydb import BillableUsage, Model
from gatewaydb.catalog import read_catalog

PLAIN, CACHED = "cost_of, a plain chat with gpt-4o", "cost_of, with cached and reasoning tokens"
GOALS = {PLAIN: at_most(5), CACHED: None}


def measure(bench: Bench) -> list[Row]:
    """Microseconds; the usage is made before."""
    return asyncio.run(_rows(bench))


async def _rows(bench: Bench) -> list[Row]:
    models = {model.name: model for model in (await read_catalog()).models}
    plain, cached = BillableUsage(1_200, 300), BillableUsage(1_200, 300, cache_read_tokens=800, reasoning_tokens=100)
    passes = {
        PLAIN: _pass(models["gpt-4o"], plain, bench.sizes.calls),
        CACHED: _pass(models["o3"], cached, bench.sizes.calls),
    }
    timings = await interleaved(passes, bench.sizes.rounds)
    return [
        row_of([s * 1e6 for s in timings.seconds[name]], benchmark="costs", subject=name, unit="us", goal=goal)
        for name, goal in GOALS.items()
    ]


def _pass(model: Model, usage: BillableUsage, calls: int) -> Pass:
    async def price() -> float:
        start = perf_counter()
        for _ in range(calls):
            model.cost_of(usage)
        return (perf_counter() - start) / calls

    return price
