"""What a process remembers of one noun: values, and keys that have none.

Made-up keys are remembered apart, for a short time: so they evict no value, and each is asked for once in that time.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Generic

from gatewaydb.cache.base import Cache, K, V
from gatewaydb.cache.lru import LRUCache
from gatewaydb.cache.sieve import SieveCache
from gatewaydb.clock import Clock

_POLICIES: Mapping[str, type[Cache[Any, Any]]] = {"lru": LRUCache, "sieve": SieveCache}


class Memory(Generic[K, V]):
    """A cache of values under a policy ("lru", "sieve"), and one of absent keys; with an `absent_ttl` of 0 of none.

    What is remembered with an absent key is a note of the caller's, None at first.
    """

    def __init__(
        self,
        capacity: int,
        ttl: timedelta,
        clock: Clock,
        *,
        policy: str = "lru",
        stale: timedelta = timedelta(0),
        absent_capacity: int = 1,
        absent_ttl: timedelta = timedelta(0),
    ) -> None:
        self.clock = clock
        self.values: Cache[K, V] = _POLICIES[policy](capacity, ttl, clock, stale)
        # A TTL of 0 is without end to a cache.
        self._takes_absent = absent_ttl > timedelta(0)
        self.absent: Cache[K, Any] = LRUCache(absent_capacity, absent_ttl, clock)

    def keep(self, key: K, value: V | None) -> None:
        """Remembers the value, or that there is none."""
        if value is not None:
            self.values.put(key, value)
        elif self._takes_absent:
            self.absent.put(key, None)

    def discard(self, key: K) -> None:
        """Forgets one key."""
        self.values.discard(key)
        self.absent.discard(key)

    def discard_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Forgets the values that are unwanted, and all absent keys: nobody knows which of them have a value now."""
        self.values.discard_where(unwanted)
        self.absent.clear()

    def clear(self) -> None:
        """Forgets everything but the counts."""
        self.values.clear()
        self.absent.clear()

    def cleanup(self) -> int:
        """Takes out what has expired; gives the number of values."""
        self.absent.cleanup()
        return self.values.cleanup()

    def close(self) -> None:
        """Forgets everything and stops the timers."""
        self.values.close()
        self.absent.close()
