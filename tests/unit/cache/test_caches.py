"""What both policies promise. Which entry goes is told in `test_lru.py` and `test_sieve.py`."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from gatewaydb.cache import Cache, LRUCache, SieveCache
from tests.clock import ManualClock, ManualTimer

Policy = type[LRUCache[str, int]] | type[SieveCache[str, int]]


@pytest.fixture(params=[LRUCache, SieveCache], ids=["lru", "sieve"])
def policy(request: pytest.FixtureRequest) -> Policy:
    """Each in turn."""
    chosen: Policy = request.param
    return chosen


@pytest.fixture
def cache(policy: Policy, clock: ManualClock) -> Cache[str, int]:
    """Room for three, for a minute each."""
    return policy(3, timedelta(minutes=1), clock)


def hit(cache: Cache[str, int], key: str) -> int:
    entry = cache.live[key]
    entry.used = cache.tick = cache.tick + 1
    return entry.value


def fill(cache: Cache[str, int], keys: str) -> None:
    for value, key in enumerate(keys):
        cache.put(key, value)


def test_storing_again_needs_no_room(cache: Cache[str, int]) -> None:
    fill(cache, "abc")
    cache.put("a", 7)
    assert (len(cache), hit(cache, "a"), cache.stats().evictions) == (3, 7, 0)


def test_what_was_discarded_makes_room(cache: Cache[str, int]) -> None:
    fill(cache, "abc")
    cache.discard("b")
    assert cache.room == 1
    cache.put("d", 3)
    assert (set(cache.live), cache.stats().evictions, cache.room) == ({"a", "c", "d"}, 0, 0)


def test_nothing_is_served_after_its_ttl_however_often_it_is_used(cache: Cache[str, int], clock: ManualClock) -> None:
    cache.put("a", 0)
    clock.advance(59)
    assert hit(cache, "a") == 0
    clock.advance(1)
    assert "a" not in cache.live


def test_storing_again_begins_a_full_ttl(cache: Cache[str, int], clock: ManualClock) -> None:
    cache.put("a", 0)
    clock.advance(40)
    cache.put("a", 1)
    clock.advance(59)
    assert hit(cache, "a") == 1
    clock.advance(1)
    assert "a" not in cache.live


def test_a_ttl_of_0_is_without_end(policy: Policy, clock: ManualClock) -> None:
    cache = policy(3, timedelta(0), clock)
    cache.put("a", 0)
    clock.advance(10**9)
    assert (hit(cache, "a"), cache.cleanup()) == (0, 0)


def test_a_timer_that_comes_early_takes_nothing_and_comes_again(policy: Policy) -> None:
    class CoarseClock(ManualClock):
        def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
            return super().call_later(delay - 0.25 if delay > 1 else delay, callback)

    clock = CoarseClock()
    cache = policy(3, timedelta(minutes=1), clock)
    cache.put("a", 0)
    clock.advance(59.75)
    assert "a" in cache.live
    clock.advance(0.25)
    assert "a" not in cache.live


def test_an_expired_entry_makes_room_before_one_that_can_be_served(cache: Cache[str, int], clock: ManualClock) -> None:
    cache.put("old", 0)
    clock.advance(30)
    fill(cache, "ab")
    clock.advance(30)
    cache.put("c", 2)
    assert list(cache.live) == ["a", "b", "c"]
    assert (cache.stats().evictions, cache.stats().expirations) == (0, 1)


def test_cleanup_frees_the_room_of_expired_entries_and_gives_their_number(
    cache: Cache[str, int], clock: ManualClock
) -> None:
    fill(cache, "ab")
    clock.advance(30)
    cache.put("c", 2)
    clock.advance(30)
    assert cache.stats().size == 3
    assert (cache.cleanup(), cache.cleanup()) == (2, 0)
    assert (cache.stats().size, list(cache.live)) == (1, ["c"])


def test_cleanup_does_not_wait_for_a_timer_that_is_late(policy: Policy) -> None:
    class LateClock(ManualClock):
        def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
            return super().call_later(delay + 5, callback)

    clock = LateClock()
    cache = policy(3, timedelta(minutes=1), clock)
    cache.put("a", 0)
    clock.advance(60)
    assert (cache.cleanup(), len(cache)) == (1, 0)


def test_discard_where_looks_at_key_and_value_of_all_entries(cache: Cache[str, int], clock: ManualClock) -> None:
    cache.put("old", 7)
    clock.advance(60)
    fill(cache, "ab")
    cache.discard_where(lambda key, value: key == "a" or value == 7)
    assert (list(cache.live), len(cache)) == (["b"], 1)


def test_stats_count_uses_and_losses(cache: Cache[str, int], clock: ManualClock) -> None:
    fill(cache, "abcd")
    hit(cache, "d")
    hit(cache, "d")
    cache.misses += 2
    clock.advance(60)
    stats = cache.stats()
    assert (stats.size, stats.capacity, stats.ttl) == (3, 3, timedelta(minutes=1))
    assert (stats.hits, stats.misses, stats.hit_rate) == (2, 2, 0.5)
    assert (stats.evictions, stats.expirations) == (1, 3)


def test_the_hit_rate_of_an_unused_cache_is_0(cache: Cache[str, int]) -> None:
    assert cache.stats().hit_rate == 0.0


@pytest.mark.parametrize("forget_all", [Cache.clear, Cache.close])
def test_an_emptied_cache_keeps_its_counts_and_works_again(
    cache: Cache[str, int], clock: ManualClock, forget_all: Callable[[Cache[str, int]], None]
) -> None:
    fill(cache, "abcd")
    forget_all(cache)
    assert (len(cache), cache.stats().evictions) == (0, 1)
    fill(cache, "abcd")
    assert (len(cache), cache.stats().evictions) == (3, 2)
    clock.advance(60)
    assert not cache.live


STALE = timedelta(minutes=5)


@pytest.fixture
def lenient(policy: Policy, clock: ManualClock) -> Cache[str, int]:
    """As `cache`, and each stands in for five minutes more."""
    return policy(3, timedelta(minutes=1), clock, STALE)


def stale(cache: Cache[str, int], key: str) -> int | None:
    entry = cache.stale(key)
    return None if entry is None else entry.value


@pytest.mark.parametrize("is_cleaned_up", [False, True])
def test_what_has_expired_stands_in_until_stale_has_passed(
    lenient: Cache[str, int], clock: ManualClock, is_cleaned_up: bool
) -> None:
    lenient.put("a", 7)
    assert stale(lenient, "a") is None
    clock.advance(60)
    if is_cleaned_up:
        lenient.cleanup()
    assert ("a" in lenient.live, stale(lenient, "a")) == (False, 7)
    clock.advance(299)
    assert stale(lenient, "a") == 7
    clock.advance(1)
    assert stale(lenient, "a") is None
    lenient.cleanup()
    assert not lenient._spare


def test_without_stale_nothing_stands_in(cache: Cache[str, int], clock: ManualClock) -> None:
    cache.put("a", 7)
    clock.advance(60)
    assert cache.stale("a") is None
    cache.cleanup()
    assert not cache._spare


FORGET: list[Callable[[Cache[str, int]], None]] = [
    lambda cache: cache.discard("a"),
    lambda cache: cache.discard_where(lambda key, value: key == "a"),
    lambda cache: cache.clear(),
    lambda cache: cache.put("a", 8),
]


@pytest.mark.parametrize("is_cleaned_up", [False, True])
@pytest.mark.parametrize("forget", FORGET)
def test_what_was_forgotten_or_stored_again_stands_in_no_more(
    lenient: Cache[str, int], clock: ManualClock, forget: Callable[[Cache[str, int]], None], is_cleaned_up: bool
) -> None:
    lenient.put("a", 7)
    clock.advance(60)
    if is_cleaned_up:
        lenient.cleanup()
    forget(lenient)
    assert lenient.stale("a") is None


def test_what_may_stand_in_makes_room_first(lenient: Cache[str, int], clock: ManualClock) -> None:
    fill(lenient, "ab")
    clock.advance(60)
    lenient.cleanup()
    lenient.put("c", 2)
    lenient.put("d", 3)
    assert (stale(lenient, "a"), stale(lenient, "b")) == (None, 1)
    lenient.put("e", 4)
    assert (lenient.stale("b"), set(lenient.live), lenient.stats().evictions) == (None, set("cde"), 0)
