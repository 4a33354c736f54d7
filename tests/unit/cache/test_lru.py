from datetime import timedelta

import pytest

from gatewaydb.cache import LRUCache
from tests.clock import ManualClock
from tests.unit.cache.test_caches import fill, hit

Cache = LRUCache[str, int]


@pytest.fixture
def cache(clock: ManualClock) -> Cache:
    """Room for three, for a minute each."""
    return LRUCache(3, timedelta(minutes=1), clock)


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
