"""SIEVE: what was not used again since it was stored, or since the hand last passed it, goes first.

A hand goes over the entries from the oldest to the newest and then begins again. One that was used since the hand last
passed it (or since it was stored) stays, and has to be used again; the first that was not is evicted, and there the
hand rests. So what is asked for once leaves before what is asked for often, however recent it is.

`live` is in the order of storing. The hand is a list of what lies before it, oldest last. When that is used up, it goes
on with what was stored since it was made, and only then begins again. A passing hand sets `used` to 0, which no hit
does. Each entry in the list is dead, was used, or is evicted, so the list costs a constant per hit, store and discard.
"""

from datetime import timedelta
from itertools import takewhile
from typing import Any

from gatewaydb.cache.base import Cache, Entry, K, V
from gatewaydb.clock import Clock


class _SieveEntry(Entry[K, V]):
    __slots__ = ("number",)

    def __init__(self, key: K, value: V, expires: float, number: int) -> None:
        super().__init__(key, value, 0, expires)
        self.number = number


class SieveCache(Cache[K, V]):
    """A `Cache` that evicts by the SIEVE algorithm."""

    __slots__ = ("_hand", "_newest")

    def __init__(self, capacity: int, ttl: timedelta, clock: Clock, stale: timedelta = timedelta(0)) -> None:
        super().__init__(capacity, ttl, clock, stale)
        self._hand: list[Entry[K, V]] = []
        self._newest = 0

    def clear(self) -> None:
        """Forgets everything but the counts."""
        super().clear()
        self._hand.clear()

    def _new_entry(self, key: K, value: V, expires: float) -> Entry[K, V]:
        return _SieveEntry(key, value, expires, self._stored)

    def _victim(self) -> K:
        while True:
            while self._hand:
                entry = self._hand.pop()
                if self.live.get(entry.key) is not entry:
                    continue
                if entry.used == 0:
                    return entry.key
                entry.used = 0
            self._hand = list(takewhile(self._is_new, reversed(self.live.values()))) or [*reversed(self.live.values())]
            self._newest = self._stored

    def _is_new(self, entry: Any) -> bool:
        return bool(entry.number > self._newest)
