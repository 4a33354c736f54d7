from collections.abc import Callable
from datetime import timedelta

import pytest

from gatewaydb.cache import LRUCache
from tests.clock import ManualClock, ManualTimer

Cache = LRUCache[str, int]


@pytest.fixture
def cache(clock: ManualClock) -> Cache:
    """Room for three, for a minute each."""
    return LRUCache(3, timedelta(minutes=1), clock)


def hit(cache: Cache, key: str) -> int:
    entry = cache.live[key]
    entry.used = cache.tick = cache.tick + 1
    return entry.value


def fill(cache: Cache, keys: str) -> None:
    for value, key in enumerate(keys):
        cache.put(key, value)


def test_the_least_recently_used_goes_first(cache: Cache) -> None:
    fill(cache, "abc")
    hit(cache, "a")
    cache.put("d", 3)
    assert list(cache.live) == ["a", "c", "d"]
    hit(cache, "c")
    cache.put("e", 4)
    assert list(cache.live) == ["c", "d", "e"]


def test_storing_again_is_a_use_and_needs_no_room(cache: Cache) -> None:
    fill(cache, "abc")
    cache.put("a", 7)
    assert (len(cache), hit(cache, "a"), cache.stats().evictions) == (3, 7, 0)
    cache.put("d", 3)
    assert "b" not in cache.live


def test_what_was_forgotten_and_stored_again_is_new(cache: Cache) -> None:
    fill(cache, "abcd")
    cache.discard("b")
    cache.put("b", 9)
    cache.put("e", 4)
    assert set(cache.live) == {"d", "b", "e"}


def test_nothing_is_served_after_its_ttl_however_often_it_is_used(cache: Cache, clock: ManualClock) -> None:
    cache.put("a", 0)
    clock.advance(59)
    assert hit(cache, "a") == 0
    clock.advance(1)
    assert "a" not in cache.live


def test_storing_again_begins_a_full_ttl(cache: Cache, clock: ManualClock) -> None:
    cache.put("a", 0)
    clock.advance(40)
    cache.put("a", 1)
    clock.advance(59)
    assert hit(cache, "a") == 1
    clock.advance(1)
    assert "a" not in cache.live


def test_a_ttl_of_0_is_without_end(clock: ManualClock) -> None:
    cache = Cache(3, timedelta(0), clock)
    cache.put("a", 0)
    clock.advance(10**9)
    assert (hit(cache, "a"), cache.cleanup()) == (0, 0)


def test_a_timer_that_comes_early_takes_nothing_and_comes_again() -> None:
    class CoarseClock(ManualClock):
        def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
            return super().call_later(delay - 0.25 if delay > 1 else delay, callback)

    clock = CoarseClock()
    cache = Cache(3, timedelta(minutes=1), clock)
    cache.put("a", 0)
    clock.advance(59.75)
    assert "a" in cache.live
    clock.advance(0.25)
    assert "a" not in cache.live


def test_an_expired_entry_makes_room_before_one_that_can_be_served(cache: Cache, clock: ManualClock) -> None:
    cache.put("old", 0)
    clock.advance(30)
    fill(cache, "ab")
    clock.advance(30)
    cache.put("c", 2)
    assert list(cache.live) == ["a", "b", "c"]
    assert (cache.stats().evictions, cache.stats().expirations) == (0, 1)


def test_cleanup_frees_the_room_of_expired_entries_and_gives_their_number(cache: Cache, clock: ManualClock) -> None:
    fill(cache, "ab")
    clock.advance(30)
    cache.put("c", 2)
    clock.advance(30)
    assert cache.stats().size == 3
    assert (cache.cleanup(), cache.cleanup()) == (2, 0)
    assert (cache.stats().size, list(cache.live)) == (1, ["c"])


def test_cleanup_does_not_wait_for_a_timer_that_is_late() -> None:
    class LateClock(ManualClock):
        def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
            return super().call_later(delay + 5, callback)

    clock = LateClock()
    cache = Cache(3, timedelta(minutes=1), clock)
    cache.put("a", 0)
    clock.advance(60)
    assert (cache.cleanup(), len(cache)) == (1, 0)


def test_discard_where_looks_at_key_and_value_of_all_entries(cache: Cache, clock: ManualClock) -> None:
    cache.put("old", 7)
    clock.advance(60)
    fill(cache, "ab")
    cache.discard_where(lambda key, value: key == "a" or value == 7)
    assert (list(cache.live), len(cache)) == (["b"], 1)


def test_stats_count_uses_and_losses(cache: Cache, clock: ManualClock) -> None:
    fill(cache, "abcd")
    hit(cache, "d")
    hit(cache, "d")
    cache.misses += 2
    clock.advance(60)
    stats = cache.stats()
    assert (stats.size, stats.capacity, stats.ttl) == (3, 3, timedelta(minutes=1))
    assert (stats.hits, stats.misses, stats.hit_rate) == (2, 2, 0.5)
    assert (stats.evictions, stats.expirations) == (1, 3)


def test_the_hit_rate_of_an_unused_cache_is_0(cache: Cache) -> None:
    assert cache.stats().hit_rate == 0.0


@pytest.mark.parametrize("forget_all", [Cache.clear, Cache.close])
def test_an_emptied_cache_keeps_its_counts_and_works_again(
    cache: Cache, clock: ManualClock, forget_all: Callable[[Cache], None]
) -> None:
    fill(cache, "abcd")
    forget_all(cache)
    assert (len(cache), cache.stats().evictions) == (0, 1)
    fill(cache, "abcd")
    assert (len(cache), cache.stats().evictions) == (3, 2)
    clock.advance(60)
    assert not cache.live
