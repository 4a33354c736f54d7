"""What callers ask for in a day: made up from a seed, or with the times and token counts of a trace. Pure."""

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from gatewaydb.cli.traces import TraceRow

HOUSE_MODEL = "house-llama"
"""A model of the demo's own, which nobody has priced."""
ALIASES = {"fast": "gpt-4o-mini", "smart": "claude-sonnet-4-5", "reasoning": "o3"}
MISSPELT_MODEL = "gpt-4o-mimi"
STRANGER = "stranger"
"""Calls with a secret that is none."""


class Caller(NamedTuple):
    """A key of the demo, and the share of the requests that come with it."""

    name: str
    share: float
    allowed_models: tuple[str, ...] = ()
    budget_usd: int | None = None
    enabled: bool = True
    expired: bool = False


class Workload(NamedTuple):
    """What is asked of one model. Token counts are medians of a log-normal distribution."""

    model: str
    share: float
    prompt_tokens: int
    completion_tokens: int
    cached: float = 0.0
    """The part of the prompt that the provider has cached, at most."""
    reasoning: float = 0.0
    """The part of the completion that is reasoning, at most."""


class Request(NamedTuple):
    """One request as it reaches the gateway."""

    at: datetime
    caller: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int


CALLERS = (
    Caller("production", 60),
    Caller("mobile-app", 20, budget_usd=10),
    Caller("staging", 14, allowed_models=("gpt-*", "fast", "gemini/*", HOUSE_MODEL)),
    Caller("contractor", 2, expired=True),
    Caller("old-prototype", 2, enabled=False),
    Caller(STRANGER, 2),
)
WORKLOADS = (
    Workload("fast", 34, 900, 180, cached=0.5),
    Workload("smart", 16, 2_400, 420, cached=0.9),
    Workload("gpt-4o", 14, 1_500, 320, cached=0.5),
    Workload("gemini-2.5-flash", 14, 3_000, 240, cached=0.3),
    Workload("gpt-5", 8, 1_800, 900, cached=0.5, reasoning=0.7),
    Workload("claude-haiku-4-5", 8, 1_200, 260, cached=0.8),
    Workload("reasoning", 3, 1_000, 1_600, reasoning=0.8),
    Workload(HOUSE_MODEL, 2, 700, 250),
    Workload(MISSPELT_MODEL, 1, 600, 150),
)
CATALOG_MODELS = {ALIASES.get(load.model, load.model) for load in WORKLOADS} - {HOUSE_MODEL, MISSPELT_MODEL}
# Requests by hour of the day, UTC: a quiet night, a lunch break, an evening.
_BY_HOUR = (2, 1, 1, 1, 1, 2, 4, 7, 11, 14, 15, 14, 11, 13, 15, 15, 13, 11, 9, 8, 8, 6, 4, 3)


def made_up(count: int, seed: int, day: datetime) -> list[Request]:
    """This many requests of one day, which begins at `day`, in the order of their times."""
    rng = random.Random(seed)  # noqa: S311
    hours = rng.choices(range(24), _BY_HOUR, k=count)
    times = sorted(day + timedelta(hours=hour, microseconds=rng.randrange(3_600_000_000)) for hour in hours)
    return list(_requests(rng, ((at, None) for at in times)))


def from_trace(rows: Sequence[TraceRow], seed: int) -> list[Request]:
    """The requests of a trace: times and tokens are the trace's, who asks for which model is made up."""
    rng = random.Random(seed)  # noqa: S311
    return list(_requests(rng, ((row.at, (row.prompt_tokens, row.completion_tokens)) for row in rows)))


def _requests(rng: random.Random, arrivals: Iterable[tuple[datetime, tuple[int, int] | None]]) -> Iterator[Request]:
    callers = [caller.name for caller in CALLERS], [caller.share for caller in CALLERS]
    loads = WORKLOADS, [load.share for load in WORKLOADS]
    for at, tokens in arrivals:
        caller = rng.choices(*callers)[0]
        load = rng.choices(*loads)[0]
        prompt, completion = tokens or (_about(rng, load.prompt_tokens), _about(rng, load.completion_tokens))
        cached = int(prompt * load.cached * rng.random())
        reasoning = int(completion * load.reasoning * rng.random())
        yield Request(at, caller, load.model, prompt, completion, cached, reasoning)


def _about(rng: random.Random, median: int) -> int:
    return max(1, int(median * rng.lognormvariate(0, 0.7)))
