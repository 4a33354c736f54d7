"""Who asks at the same time shares a load, and what was invalidated meanwhile is not stored."""

import asyncio
from datetime import timedelta

import pytest

from gatewaydb.cache import Memory, ReadThrough, Uncached
from tests.clock import ManualClock
from tests.unit.cache.reading import ABSENT_TTL_S, FORGET, Forget, Store, begin, turns


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


async def test_what_does_not_exist_is_asked_for_once_in_absent_ttl(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock
) -> None:
    tasks = await begin(reads, "new", 2)
    store.gate.set()
    assert await asyncio.gather(*tasks) == [None, None]
    store.values["new"] = 3
    clock.advance(ABSENT_TTL_S - 1)
    assert await reads.fetch("new") is None
    assert store.loads == ["new"]
    assert (reads.stats().absent_size, reads.stats().absent_hits, reads.stats().misses) == (1, 1, 3)
    clock.advance(1)
    assert (await reads.fetch("new"), store.loads) == (3, ["new", "new"])


async def test_made_up_keys_are_bounded_and_evict_no_value(reads: ReadThrough[str, int], store: Store) -> None:
    store.gate.set()
    await reads.fetch("a")
    for number in range(100):
        await reads.fetch(f"made up {number}")
    assert reads.cache.live["a"].value == 1
    assert (reads.stats().absent_size, reads.stats().evictions) == (3, 0)


async def test_each_of_100_000_made_up_keys_is_asked_for_once(store: Store, clock: ManualClock) -> None:
    memory = Memory[str, int](
        10, timedelta(minutes=1), clock, absent_capacity=100_000, absent_ttl=timedelta(seconds=ABSENT_TTL_S)
    )
    reads = ReadThrough(memory, store, "things")
    store.gate.set()
    for _ in range(2):
        for number in range(100_000):
            assert await reads.fetch(f"made up {number}") is None
    assert len(store.loads) == len(set(store.loads)) == 100_000


async def test_with_an_absent_ttl_of_0_nothing_absent_is_remembered(store: Store, clock: ManualClock) -> None:
    reads = ReadThrough(Memory[str, int](10, timedelta(minutes=1), clock), store, "things")
    store.gate.set()
    assert await reads.fetch("new") is None
    store.values["new"] = 3
    assert await reads.fetch("new") == 3


async def test_a_note_lasts_as_long_as_the_absent_key(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock
) -> None:
    store.gate.set()
    reads.note("new", "nobody asked")
    await reads.fetch("new")
    assert reads.note_of("new") is None
    reads.note("new", "like a")
    assert reads.note_of("new") == "like a"
    clock.advance(ABSENT_TTL_S)
    assert reads.note_of("new") is None


async def test_an_error_reaches_all_who_wait_and_is_not_cached(reads: ReadThrough[str, int], store: Store) -> None:
    store.error = OSError("broken")
    tasks = await begin(reads, "a", 3)
    store.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [store.error] * 3
    store.error = None
    assert await reads.fetch("a") == 1


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


@pytest.mark.parametrize("forget", FORGET)
async def test_what_was_absent_before_an_invalidation_is_asked_for_after_it(
    reads: ReadThrough[str, int], store: Store, forget: Forget
) -> None:
    del store.values["a"]
    store.gate.set()
    assert await reads.fetch("a") is None
    store.values["a"] = 7
    forget(reads)
    assert await reads.fetch("a") == 7


@pytest.mark.parametrize("forget", FORGET)
async def test_absence_that_was_read_before_an_invalidation_is_not_remembered_after_it(
    reads: ReadThrough[str, int], store: Store, forget: Forget
) -> None:
    del store.values["a"]
    before = await begin(reads, "a")
    store.values["a"] = 7
    forget(reads)
    store.gate.set()
    assert await asyncio.gather(*before) == [None]
    assert await reads.fetch("a") == 7


async def test_filling_loads_what_is_lacking_while_there_is_room(reads: ReadThrough[str, int], store: Store) -> None:
    store.gate.set()
    store.values = {f"{number}": number for number in range(20)}
    for number in range(4):
        await reads.fetch(f"{number}")
    assert await reads.fill(["gone", "0", *map(str, range(10, 20))]) == 5
    assert reads.stats().misses == 4
    assert reads.stats().evictions == 0
    by_use = sorted(reads.cache.live.values(), key=lambda entry: entry.used)
    assert [entry.key for entry in by_use] == ["0", "1", "2", "3", "14", "13", "12", "11", "10"]


async def test_loads_in_flight_and_those_who_wait_are_counted(reads: ReadThrough[str, int], store: Store) -> None:
    tasks = [*await begin(reads, "a", 5), *await begin(reads, "b")]
    assert (reads.stats().loads_in_flight, reads.stats().coalesced) == (2, 4)
    store.gate.set()
    await asyncio.gather(*tasks)
    assert reads.stats().loads_in_flight == 0


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


async def test_inside_a_transaction_every_read_is_a_load(memory: Memory[str, int], store: Store) -> None:
    reads = Uncached(memory, store, "things")
    store.gate.set()
    assert await reads.fetch("a") == 1
    store.values["a"] = 7
    assert await reads.fetch("a") == 7
    assert await reads.fill(["a"]) == 0
    assert len(memory.values) == 0
