"""What the tests of reading through the cache share: a store that answers, fails or hangs, as the test says."""

import asyncio
from collections.abc import Callable

import pytest

from gatewaydb.cache import ReadThrough

TTL_S, STALE_S, ABSENT_TTL_S = 60, 300, 5


class Store:
    """Values whose reading begins at once and ends when `gate` is open."""

    coalesced = 0

    def __init__(self) -> None:
        self.values: dict[str, int] = {"a": 1, "b": 2}
        self.error: Exception | None = None
        self.loads: list[str] = []
        self.gate = asyncio.Event()

    async def load(self, key: str) -> int | None:
        self.loads.append(key)
        value = self.values.get(key)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return value


Task = asyncio.Task[int | None]
Forget = Callable[[ReadThrough[str, int]], None]

FORGET = [
    pytest.param(lambda reads: reads.forget("a"), id="forget"),
    pytest.param(lambda reads: reads.forget_where(lambda key, value: key == "a"), id="forget_where"),
    pytest.param(ReadThrough.forget_all, id="forget_all"),
]


async def begin(reads: ReadThrough[str, int], key: str, number: int = 1) -> list[Task]:
    """As many callers, who all wait when this returns."""
    tasks = [asyncio.create_task(reads.fetch(key)) for _ in range(number)]
    await turns()
    return tasks


async def turns() -> None:
    """Lets everybody go on until they wait for the store."""
    for _ in range(5):
        await asyncio.sleep(0)
