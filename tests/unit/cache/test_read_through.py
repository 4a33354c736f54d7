import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from gatewaydb.cache import LRUCache, ReadThrough, Uncached
from tests.clock import ManualClock


class Store:
    """Values whose reading begins at once and ends when `gate` is open."""

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


@pytest.fixture
async def store() -> Store:
    """Its gate is closed."""
    return Store()


@pytest.fixture
def cache(clock: ManualClock) -> LRUCache[str, int]:
    return LRUCache(10, timedelta(minutes=1), clock)


@pytest.fixture
def reads(cache: LRUCache[str, int], store: Store) -> ReadThrough[str, int]:
    return ReadThrough(cache, store.load)


async def begin(reads: ReadThrough[str, int], key: str, number: int = 1) -> list[Task]:
    """As many callers, who all wait when this returns."""
    tasks = [asyncio.create_task(reads.fetch(key)) for _ in range(number)]
    await turns()
    return tasks


async def turns() -> None:
    """Lets everybody go on until they wait for the store."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_at_the_same_time_is_answered_by_one_load(reads: ReadThrough[str, int], store: Store) -> None:
    tasks = await begin(reads, "a", 50)
    store.gate.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert store.loads == ["a"]
    assert (reads.cache.live["a"].value, reads.cache.stats().misses) == (1, 50)


async def test_keys_do_not_wait_for_each_other(reads: ReadThrough[str, int], store: Store) -> None:
    tasks = [*await begin(reads, "a"), *await begin(reads, "b")]
    assert store.loads == ["a", "b"]
    store.gate.set()
    assert await asyncio.gather(*tasks) == [1, 2]


async def test_what_does_not_exist_is_not_cached(reads: ReadThrough[str, int], store: Store) -> None:
    tasks = await begin(reads, "new", 2)
    store.gate.set()
    assert await asyncio.gather(*tasks) == [None, None]
    store.values["new"] = 3
    assert await reads.fetch("new") == 3


async def test_an_error_reaches_all_who_wait_and_is_not_cached(reads: ReadThrough[str, int], store: Store) -> None:
    store.error = OSError("broken")
    tasks = await begin(reads, "a", 3)
    store.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [store.error] * 3
    store.error = None
    assert await reads.fetch("a") == 1


FORGET = [
    pytest.param(lambda reads: reads.forget("a"), id="forget"),
    pytest.param(lambda reads: reads.forget_where(lambda key, value: key == "a"), id="forget_where"),
    pytest.param(ReadThrough.forget_all, id="forget_all"),
]


@pytest.mark.parametrize("forget", FORGET)
async def test_what_was_read_before_an_invalidation_is_never_stored_after_it(
    reads: ReadThrough[str, int], store: Store, forget: Forget
) -> None:
    before = await begin(reads, "a", 2)
    store.values["a"] = 7
    forget(reads)
    after = await begin(reads, "a", 2)
    store.gate.set()
    assert await asyncio.gather(*before, *after) == [1, 1, 7, 7]
    assert store.loads == ["a", "a"]
    assert reads.cache.live["a"].value == 7


@pytest.mark.parametrize("forget", FORGET)
async def test_an_invalidation_drops_what_is_cached(reads: ReadThrough[str, int], store: Store, forget: Forget) -> None:
    store.gate.set()
    await reads.fetch("a")
    forget(reads)
    assert "a" not in reads.cache.live


async def test_a_cancelled_waiter_disturbs_nobody(reads: ReadThrough[str, int], store: Store) -> None:
    pilot, waiter, other = await begin(reads, "a", 3)
    waiter.cancel()
    await turns()
    assert waiter.cancelled()
    store.gate.set()
    assert (await pilot, await other, store.loads) == (1, 1, ["a"])


async def test_a_cancelled_pilot_hands_over_to_one_who_waits(reads: ReadThrough[str, int], store: Store) -> None:
    pilot, *others = await begin(reads, "a", 4)
    pilot.cancel()
    await turns()
    assert (pilot.cancelled(), store.loads) == (True, ["a", "a"])
    store.gate.set()
    assert await asyncio.gather(*others) == [1, 1, 1]


async def test_pilot_and_waiter_may_be_cancelled_at_once(reads: ReadThrough[str, int], store: Store) -> None:
    pilot, waiter, other = await begin(reads, "a", 3)
    pilot.cancel()
    waiter.cancel()
    await turns()
    assert pilot.cancelled()
    assert waiter.cancelled()
    store.gate.set()
    assert await other == 1


async def test_who_cleans_up_after_a_cancellation_is_not_cancelled_by_the_pilot(
    reads: ReadThrough[str, int], store: Store
) -> None:
    async def clean_up() -> int | None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set_result(await reads.fetch("a"))
        return None

    cleaned = asyncio.get_running_loop().create_future()
    [pilot] = await begin(reads, "a")
    request = asyncio.create_task(clean_up())
    await turns()
    request.cancel()
    await turns()
    pilot.cancel()
    await turns()
    store.gate.set()
    assert await cleaned == 1
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_inside_a_transaction_every_read_is_a_load(cache: LRUCache[str, int], store: Store) -> None:
    reads = Uncached(cache, store.load)
    store.gate.set()
    assert await reads.fetch("a") == 1
    store.values["a"] = 7
    assert await reads.fetch("a") == 7
    assert len(cache) == 0
