"""While the store is down, what has expired stands in, for a while and unless it was invalidated."""

import asyncio

import pytest

from gatewaydb import DatabaseUnavailableError, QueryTimeoutError
from gatewaydb.cache import ReadThrough
from tests.clock import ManualClock
from tests.unit.cache.reading import FORGET, STALE_S, TTL_S, Forget, Store, begin

DOWN = [DatabaseUnavailableError("gone"), QueryTimeoutError("slow")]


async def expire(reads: ReadThrough[str, int], store: Store, clock: ManualClock) -> None:
    """`a` has expired, and the store is down."""
    store.gate.set()
    await reads.fetch("a")
    clock.advance(TTL_S)
    store.gate.clear()


@pytest.mark.parametrize("error", DOWN)
async def test_while_the_store_is_down_what_has_expired_stands_in_for_all_who_wait(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock, error: Exception
) -> None:
    await expire(reads, store, clock)
    store.error = error
    tasks = await begin(reads, "a", 3)
    store.gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert reads.stats().stale_served == 3
    clock.advance(STALE_S - 1)
    assert await reads.fetch("a") == 1
    clock.advance(1)
    with pytest.raises(type(error)):
        await reads.fetch("a")


async def test_a_value_that_stands_in_is_not_stored(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock
) -> None:
    await expire(reads, store, clock)
    store.gate.set()
    store.error = DOWN[0]
    assert await reads.fetch("a") == 1
    store.error = None
    store.values["a"] = 7
    assert await reads.fetch("a") == 7


async def test_no_other_error_is_covered_by_what_has_expired(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock
) -> None:
    await expire(reads, store, clock)
    store.gate.set()
    store.error = OSError("broken")
    with pytest.raises(OSError, match="broken"):
        await reads.fetch("a")


@pytest.mark.parametrize("is_in_flight", [False, True])
@pytest.mark.parametrize("forget", FORGET)
async def test_what_was_invalidated_does_not_stand_in(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock, forget: Forget, is_in_flight: bool
) -> None:
    await expire(reads, store, clock)
    store.error = DOWN[0]
    tasks = await begin(reads, "a", 2) if is_in_flight else []
    forget(reads)
    tasks += await begin(reads, "a", 2)
    store.gate.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [store.error] * len(tasks)
    assert reads.stats().stale_served == 0


async def test_an_outage_is_one_line_a_minute(
    reads: ReadThrough[str, int], store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await expire(reads, store, clock)
    store.gate.set()
    store.error = DOWN[0]
    for _ in range(120):
        await reads.fetch("a")
        clock.advance(1)
    assert caplog.messages == ["the database is down, expired things go on serving: gone"] * 2
