from datetime import timedelta

import pytest

from gatewaydb.cache import SieveCache
from tests.clock import ManualClock
from tests.unit.cache.test_caches import fill, hit

Cache = SieveCache[str, int]


@pytest.fixture
def cache(clock: ManualClock) -> Cache:
    """Room for three, for a minute each."""
    return SieveCache(3, timedelta(minutes=1), clock)


def test_the_oldest_that_was_not_used_goes_first(cache: Cache) -> None:
    fill(cache, "abc")
    hit(cache, "a")
    cache.put("d", 3)
    assert list(cache.live) == ["a", "c", "d"]


def test_the_hand_goes_on_where_it_rested_and_what_it_passed_has_to_be_used_again(cache: Cache) -> None:
    fill(cache, "abc")
    hit(cache, "a")
    hit(cache, "c")
    cache.put("d", 3)  # passes a, evicts b
    cache.put("e", 4)  # passes c, evicts d
    assert set(cache.live) == {"a", "c", "e"}
    cache.put("f", 5)  # evicts e, which was stored while the hand was on its way
    hit(cache, "c")
    cache.put("g", 6)  # evicts f, then begins again
    cache.put("h", 7)  # evicts g
    cache.put("i", 8)
    assert set(cache.live) == {"a", "c", "i"}


def test_when_all_were_used_the_oldest_goes(cache: Cache) -> None:
    fill(cache, "abc")
    for key in "cba":
        hit(cache, key)
    cache.put("d", 3)
    assert set(cache.live) == {"b", "c", "d"}


def test_a_scan_evicts_nothing_that_is_used_again(clock: ManualClock) -> None:
    cache = SieveCache[str, int](10, timedelta(0), clock)
    fill(cache, "abcde")
    for number in range(1_000):
        cache.put(f"scanned {number}", number)
        for key in "abcde":
            hit(cache, key)
    assert set("abcde") <= cache.live.keys()


def test_an_eviction_costs_a_constant(clock: ManualClock) -> None:
    """However the entries are used, each step of the hand is paid for by a hit, a store or a discard."""
    steps = 0

    class Counting(SieveCache[int, int]):
        def _is_new(self, entry: object) -> bool:
            nonlocal steps
            steps += 1
            return super()._is_new(entry)

    cache = Counting(1_000, timedelta(0), clock)
    for number in range(20_000):
        cache.put(number, number)
        if number % 2:
            entry = cache.live[number]
            entry.used = cache.tick = cache.tick + 1
    assert steps <= 3 * 20_000
