"""What both caches have in common: entries with a TTL, and a hit that costs three assignments.

The hit path is written out where it is used, because a call would cost a third of it:

    entry = cache.live[key]                      # KeyError: a miss
    entry.used = cache.tick = cache.tick + 1
    return entry.value

It needs no list to relink, no lock and no clock. The numbers of `tick` count the hits, and `used` tells a policy what
it wants to know: the exact order of use, or whether there was a use at all. What a hit saves is paid when something
must go (see the policies), and by a timer, armed when something is stored: the TTL is one for all, so `live` is in the
order of expiry, too, and the timer moves what is due from its front to `_expired`.

There it is never served as fresh. It takes room until it is cleaned up, is the first to be evicted, and may stand in
for a value that cannot be loaded, for `stale` at most. What a cleanup takes out is still kept in `_spare` for as long.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from datetime import timedelta
from itertools import takewhile
from typing import Generic, TypeVar

import msgspec

from gatewaydb.clock import Clock, Timer

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """What is cached now, and what happened since the cache was made.

    `size` counts expired entries until they are cleaned up. `absent_hits` of the `misses` were answered by one of the
    `absent_size` remembered not-founds, `stale_served` by an expired entry while the database was down, and `coalesced`
    by a query that others were waiting for, too. `loads_in_flight` are being loaded now.
    """

    size: int
    capacity: int
    ttl: timedelta
    hits: int
    misses: int
    hit_rate: float
    evictions: int
    expirations: int
    absent_size: int = 0
    absent_hits: int = 0
    stale_served: int = 0
    loads_in_flight: int = 0
    coalesced: int = 0


class Entry(Generic[K, V]):
    """One cached value; `used` is the tick of its last use, `expires` a moment of the monotonic clock."""

    __slots__ = ("expires", "key", "used", "value")

    def __init__(self, key: K, value: V, used: int, expires: float) -> None:
        self.key = key
        self.value = value
        self.used = used
        self.expires = expires


class Cache(ABC, Generic[K, V]):
    """At most `capacity` values, each for at most `ttl` (0: without end), and for `stale` more where all else fails."""

    __slots__ = (
        "_capacity",
        "_clock",
        "_evictions",
        "_expirations",
        "_expired",
        "_spare",
        "_stale_s",
        "_stored",
        "_timer",
        "_ttl_s",
        "live",
        "misses",
        "tick",
    )

    def __init__(self, capacity: int, ttl: timedelta, clock: Clock, stale: timedelta = timedelta(0)) -> None:
        self.live: dict[K, Entry[K, V]] = {}
        self.tick = 0
        self.misses = 0
        self._expired: dict[K, Entry[K, V]] = {}
        self._spare: dict[K, Entry[K, V]] = {}
        self._capacity = capacity
        self._ttl_s = ttl.total_seconds()
        self._stale_s = stale.total_seconds()
        self._clock = clock
        self._timer: Timer | None = None
        self._stored = 0
        self._evictions = 0
        self._expirations = 0

    @abstractmethod
    def _new_entry(self, key: K, value: V, expires: float) -> Entry[K, V]:
        """The entry of what is stored now, the `_stored`th value, at `tick`."""

    @abstractmethod
    def _victim(self) -> K:
        """Whose value goes, of those in `live`."""

    def __len__(self) -> int:
        return len(self.live) + len(self._expired)

    @property
    def room(self) -> int:
        """How many more values there can be before one that is served has to go."""
        return self._capacity - len(self.live)

    def put(self, key: K, value: V) -> None:
        """Stores the value for a full TTL; evicts another where there is no room."""
        self.discard(key)
        if len(self.live) + len(self._expired) + len(self._spare) >= self._capacity:
            self._evict()
        self.tick += 1
        self._stored += 1
        self.live[key] = self._new_entry(key, value, self._clock.monotonic() + self._ttl_s)
        if self._timer is None and self._ttl_s > 0:
            self._timer = self._clock.call_later(self._ttl_s, self._expire)

    def stale(self, key: K) -> Entry[K, V] | None:
        """What the key had, if it expired no longer than `stale` ago and was not discarded."""
        entry = self._expired.get(key) or self._spare.get(key)
        return None if entry is None or self._is_useless(entry, self._clock.monotonic()) else entry

    def discard(self, key: K) -> None:
        """Forgets a key, if it is there."""
        self.live.pop(key, None)
        self._expired.pop(key, None)
        self._spare.pop(key, None)

    def discard_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Forgets every entry for which `unwanted(key, value)` is true."""
        for entries in (self.live, self._expired, self._spare):
            for key in [key for key, entry in entries.items() if unwanted(key, entry.value)]:
                del entries[key]

    def clear(self) -> None:
        """Forgets everything but the counts."""
        self.live.clear()
        self._expired.clear()
        self._spare.clear()

    def cleanup(self) -> int:
        """Takes the expired entries out; gives their number. Those that may still stand in are kept as spares."""
        self._move_expired()
        removed = len(self._expired)
        now = self._clock.monotonic()
        # Both are in the order of expiry, and nothing expires before what was cleaned up earlier.
        self._spare |= self._expired
        self._expired.clear()
        for entry in list(takewhile(lambda entry: self._is_useless(entry, now), self._spare.values())):
            del self._spare[entry.key]
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
        for useless in (self._spare, self._expired):
            if useless:
                del useless[next(iter(useless))]
                return
        del self.live[self._victim()]
        self._evictions += 1

    def _is_useless(self, entry: Entry[K, V], now: float) -> bool:
        return entry.expires + self._stale_s <= now

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
