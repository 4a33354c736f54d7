"""An exact LRU cache with a TTL, whose hit costs three assignments.

Every hit stamps its entry with the next number of `tick`. The stamps are the exact order of use and count the hits, so
a hit needs no list to relink, no lock and no clock. What a hit saves is paid when something must go:

- eviction walks a list of all entries sorted by stamp, oldest first, and takes the first that was not stamped since
  the list was made. Every entry outside the list, and every skipped one, has a newer stamp than that one, so it is the
  least recently used of all. When the list is used up it is made anew: a sort per about `capacity` evictions.
- expiry is a timer, armed when something is stored. The TTL is one for all, so `live` is in the order of expiry, too,
  and the timer moves what is due from its front to `_expired`. There it takes room until it is cleaned up, evicted
  first, or loaded again; it is never served as fresh.
"""

from collections.abc import Callable, Hashable
from datetime import timedelta
from operator import attrgetter
from typing import Generic, TypeVar

import msgspec

from gatewaydb.clock import Clock, Timer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_used = attrgetter("used")


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """`hits`, `misses`, `evictions` and `expirations` since the cache was made; `size` counts expired entries, too."""

    size: int
    capacity: int
    ttl: timedelta
    hits: int
    misses: int
    hit_rate: float
    evictions: int
    expirations: int


class Entry(Generic[K, V]):
    """One cached value; `used` is the tick of its last use, `expires` a moment of the monotonic clock."""

    __slots__ = ("expires", "key", "used", "value")

    def __init__(self, key: K, value: V, used: int, expires: float) -> None:
        self.key = key
        self.value = value
        self.used = used
        self.expires = expires


class LRUCache(Generic[K, V]):
    """At most `capacity` values, each for at most `ttl` (0: without end).

    The hit path is written out where it is used, because a call would cost a third of it:

        entry = cache.live[key]                      # KeyError: a miss
        entry.used = cache.tick = cache.tick + 1
        return entry.value
    """

    __slots__ = (
        "_by_age",
        "_capacity",
        "_clock",
        "_evictions",
        "_expirations",
        "_expired",
        "_sorted_at",
        "_stored",
        "_timer",
        "_ttl_s",
        "live",
        "misses",
        "tick",
    )

    def __init__(self, capacity: int, ttl: timedelta, clock: Clock) -> None:
        self.live: dict[K, Entry[K, V]] = {}
        self.tick = 0
        self.misses = 0
        self._expired: dict[K, Entry[K, V]] = {}
        self._capacity = capacity
        self._ttl_s = ttl.total_seconds()
        self._clock = clock
        self._timer: Timer | None = None
        self._by_age: list[Entry[K, V]] = []
        self._sorted_at = 0
        self._stored = 0
        self._evictions = 0
        self._expirations = 0

    def __len__(self) -> int:
        return len(self.live) + len(self._expired)

    def put(self, key: K, value: V) -> None:
        """Stores the value as the most recently used one, for a full TTL; evicts one where there is no room."""
        live, expired = self.live, self._expired
        live.pop(key, None)
        expired.pop(key, None)
        if len(live) + len(expired) >= self._capacity:
            self._evict()
        self.tick += 1
        self._stored += 1
        live[key] = Entry(key, value, self.tick, self._clock.monotonic() + self._ttl_s)
        if self._timer is None and self._ttl_s > 0:
            self._timer = self._clock.call_later(self._ttl_s, self._expire)

    def discard(self, key: K) -> None:
        """Forgets a key, if it is there."""
        self.live.pop(key, None)
        self._expired.pop(key, None)

    def discard_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Forgets every entry for which `unwanted(key, value)` is true."""
        for entries in (self.live, self._expired):
            for key in [key for key, entry in entries.items() if unwanted(key, entry.value)]:
                del entries[key]

    def clear(self) -> None:
        """Forgets everything but the counts."""
        self.live.clear()
        self._expired.clear()
        self._by_age.clear()

    def cleanup(self) -> int:
        """Frees the room of expired entries; gives their number."""
        self._move_expired()
        removed = len(self._expired)
        self._expired.clear()
        return removed

    def close(self) -> None:
        """Forgets everything and stops the timer."""
        self.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stats(self) -> CacheStats:
        """The numbers of now; reading them costs the hit path nothing."""
        hits = self.tick - self._stored
        asked = hits + self.misses
        return CacheStats(
            size=len(self),
            capacity=self._capacity,
            ttl=timedelta(seconds=self._ttl_s),
            hits=hits,
            misses=self.misses,
            hit_rate=hits / asked if asked else 0.0,
            evictions=self._evictions,
            expirations=self._expirations,
        )

    def _evict(self) -> None:
        if self._expired:
            del self._expired[next(iter(self._expired))]
            return
        while True:
            while self._by_age:
                entry = self._by_age.pop()
                if entry.used <= self._sorted_at and self.live.get(entry.key) is entry:
                    del self.live[entry.key]
                    self._evictions += 1
                    return
            self._sorted_at = self.tick
            self._by_age = sorted(self.live.values(), key=_used, reverse=True)

    def _expire(self) -> None:
        self._timer = None
        self._move_expired()
        oldest = next(iter(self.live.values()), None)
        if oldest is not None:
            # A coarse timer may come a moment early, so that nothing was due yet.
            delay = max(oldest.expires - self._clock.monotonic(), 0.001)
            self._timer = self._clock.call_later(delay, self._expire)

    def _move_expired(self) -> None:
        if self._ttl_s == 0:
            return
        now = self._clock.monotonic()
        due: list[K] = []
        for key, entry in self.live.items():
            if entry.expires > now:
                break
            due.append(key)
        for key in due:
            self._expired[key] = self.live.pop(key)
        self._expirations += len(due)
