"""The exact LRU: the entry whose last use is the longest ago goes first.

An eviction walks a list of all entries sorted by their stamps, oldest first, and takes the first that was not stamped
since the list was made. Every entry outside the list, and every skipped one, has a newer stamp than that one, so it is
the least recently used of all. When the list is used up it is made anew: a sort per about `capacity` evictions.
"""

from datetime import timedelta
from operator import attrgetter

from gatewaydb.cache.base import Cache, Entry, K, V
from gatewaydb.clock import Clock

_used = attrgetter("used")


class LRUCache(Cache[K, V]):
    """A `Cache` that evicts by the order of use; storing is a use."""

    __slots__ = ("_by_age", "_sorted_at")

    def __init__(self, capacity: int, ttl: timedelta, clock: Clock, stale: timedelta = timedelta(0)) -> None:
        super().__init__(capacity, ttl, clock, stale)
        self._by_age: list[Entry[K, V]] = []
        self._sorted_at = 0

    def clear(self) -> None:
        """Forgets everything but the counts."""
        super().clear()
        self._by_age.clear()

    def _new_entry(self, key: K, value: V, expires: float) -> Entry[K, V]:
        return Entry(key, value, self.tick, expires)

    def _victim(self) -> K:
        while True:
            while self._by_age:
                entry = self._by_age.pop()
                if entry.used <= self._sorted_at and self.live.get(entry.key) is entry:
                    return entry.key
            self._sorted_at = self.tick
            self._by_age = sorted(self.live.values(), key=_used, reverse=True)
