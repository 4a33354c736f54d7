"""Measures subjects against each other in turns, and keeps what came out as rows with a goal and a verdict.

A machine that others use, too, is now fast and now slow. So every round runs all subjects, in random order, ratios are
of passes of the same round, and the median of the ratios is what counts.
"""

import gc
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from statistics import median, quantiles
from time import perf_counter
from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T")
Pass = Callable[[], Awaitable[float]]
"""Does its work once; gives seconds, of one operation or of the whole."""


class Sizes(Struct, frozen=True, kw_only=True):
    """How much work the benchmarks do."""

    rounds: int = 100
    calls: int = 5_000
    slow_calls: int = 500
    cold_keys: int = 10_000
    miss_rounds: int = 5
    keys: int = 1_000
    cached_keys: int = 5_000
    models: int = 500
    catalog_models: int | None = None
    catalog_rounds: int = 5
    small_cache: int = 1_000
    large_cache: int = 100_000
    cache_calls: int = 1_500_000
    usage_tasks: int = 1_000
    usage_rounds: int = 15
    usage_bulk: int = 5_000
    usage_total: int = 1_000_000
    transfer_rows: int = 20_000
    transfer_rounds: int = 5
    report_keys: int = 1_000
    report_rounds: int = 15
    report_records: int = 0
    coherence_processes: int = 8
    coherence_rounds: int = 60


QUICK = Sizes(
    rounds=3,
    calls=300,
    slow_calls=50,
    cold_keys=500,
    miss_rounds=2,
    keys=100,
    cached_keys=200,
    models=50,
    catalog_models=100,
    catalog_rounds=1,
    small_cache=100,
    large_cache=1_000,
    cache_calls=10_000,
    usage_tasks=50,
    usage_rounds=2,
    usage_bulk=300,
    usage_total=1_000,
    transfer_rows=200,
    transfer_rounds=1,
    report_keys=20,
    report_rounds=2,
    report_records=0,
    coherence_processes=2,
    coherence_rounds=2,
)


class Goal(Struct, frozen=True):
    """A bound that a value has to keep to."""

    bound: str
    limit: float

    def is_met(self, value: float) -> bool:
        """Whether the value keeps to it."""
        return value <= self.limit if self.bound == "<=" else value >= self.limit


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table. `value` is the median, `low` and `high` are the quartiles; `figures` are absolute."""

    benchmark: str
    subject: str
    against: str = ""
    on: str = ""
    unit: str
    value: float
    low: float
    high: float
    goal: Goal | None = None
    is_met: bool | None = None
    figures: str = ""


class Timings(Struct, frozen=True):
    """Seconds by subject, one for each round."""

    seconds: Mapping[str, Sequence[float]]

    def ratios(self, subject: str, against: str) -> list[float]:
        """How many times as long as `against` the subject took, round by round."""
        return [a / b for a, b in zip(self.seconds[subject], self.seconds[against], strict=True)]

    def row(self, subject: str, against: str, goal: Goal, **names: str) -> Row:
        """The subject against another, as a ratio: of its time for a ceiling, of its speed for a floor."""
        is_speed = goal.bound == ">="
        ratios = self.ratios(against, subject) if is_speed else self.ratios(subject, against)
        figures = f"{_time(self.seconds[subject])} : {_time(self.seconds[against])}"
        unit = "x faster" if is_speed else "x"
        return row_of(ratios, subject=subject, against=against, unit=unit, goal=goal, figures=figures, **names)


def at_most(limit: float) -> Goal:
    """The value may not be larger."""
    return Goal("<=", limit)


def at_least(limit: float) -> Goal:
    """The value may not be smaller."""
    return Goal(">=", limit)


def row_of(samples: Sequence[float], *, goal: Goal | None = None, **fields: Any) -> Row:
    """The median and the quartiles of the samples, and whether the goal is met."""
    low, value, high = quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [samples[0]] * 3
    is_met = None if goal is None else goal.is_met(value)
    return Row(value=value, low=low, high=high, goal=goal, is_met=is_met, **fields)


async def interleaved(passes: Mapping[str, Pass], rounds: int) -> Timings:
    """Runs every pass once a round, in random order, after a first round that does not count."""
    shuffle = random.Random(0).shuffle
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(rounds + 1):
        gc.collect()
        order = list(passes)
        shuffle(order)
        for name in order:
            with without_gc():
                took = await passes[name]()
            if number:
                seconds[name].append(took)
    return Timings(seconds)


async def seconds_each(call: Callable[[T], Awaitable[object]], arguments: Sequence[T]) -> float:
    """What one awaited call takes, the loop around it included."""
    start = perf_counter()
    for argument in arguments:
        await call(argument)
    return (perf_counter() - start) / len(arguments)


@contextmanager
def without_gc() -> Iterator[None]:
    """No collection falls into what is timed, at random, inside."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def zipf(items: Sequence[T], count: int, exponent: float) -> list[T]:
    """As callers ask: a few items often, most of them seldom. The same sequence in every run."""
    weights = list(accumulate(rank**-exponent for rank in range(1, len(items) + 1)))
    return random.Random(1).choices(items, cum_weights=weights, k=count)


def _time(seconds: Sequence[float]) -> str:
    middle = median(seconds)
    for factor, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if middle * factor < 1000:
            return f"{middle * factor:.3g} {unit}"
    return f"{middle:.3g} s"
