"""Loads what a cache lacks: once for all who ask at the same time, and never a value that was revoked meanwhile.

The first caller to miss a key loads it itself; who comes while that flight is in the air waits for it. Forgetting a
key also takes its flight off the board: those who wait for it began before the change was done and may see the old
value, but whoever asks later starts a flight of its own, and a flight that is not on the board when it lands stores
nothing. So once an invalidation has returned, nothing that was read before it is served after it. That goes for "there
is none", too, and an expired value that may stand in while the database is down is forgotten like any other.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from msgspec.structs import replace

from gatewaydb.cache.base import CacheStats, K, V
from gatewaydb.cache.memory import Memory
from gatewaydb.errors import DatabaseUnavailableError, QueryTimeoutError

K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)

logger = logging.getLogger("gatewaydb.cache")

DOWN = (DatabaseUnavailableError, QueryTimeoutError)
"""After these an expired value may stand in; any other error says something about the key."""
FILL_AT_ONCE = 50
_LOG_INTERVAL_S = 60


class Loader(Protocol[K_contra, V_co]):
    """Where values come from."""

    coalesced: int
    """How many loads shared the query of another."""

    async def load(self, key: K_contra, /) -> V_co | None:
        """The value, or None; what it raises is cached by nobody."""


class _Flight(Generic[V]):
    """One load in the air. Nobody but its pilot pays for the future, unless somebody waits."""

    __slots__ = ("_landing",)

    def __init__(self) -> None:
        self._landing: asyncio.Future[V | None] | None = None

    def wait(self) -> "asyncio.Future[V | None]":
        if self._landing is None:
            self._landing = asyncio.get_running_loop().create_future()
        # Every waiter is shielded from the cancellation of another.
        return asyncio.shield(self._landing)

    def land(self, value: V | None) -> None:
        if self._landing is not None:
            self._landing.set_result(value)

    def crash(self, error: Exception) -> None:
        if self._landing is not None:
            self._landing.set_exception(error)
            self._landing.exception()

    def abandon(self) -> None:
        if self._landing is not None:
            self._landing.cancel()


class ReadThrough(Generic[K, V]):
    """`fetch` is the way of a miss. `noun` is for the log."""

    def __init__(self, memory: Memory[K, V], loader: Loader[K, V], noun: str) -> None:
        self._memory = memory
        self.cache = memory.values
        self._absent = memory.absent
        self._loader = loader
        self._noun = noun
        self._flights: dict[K, _Flight[V]] = {}
        self._in_flight = 0
        self._waited = 0
        self._stale_served = 0
        self._silent_until = 0.0

    async def fetch(self, key: K) -> V | None:
        """The value, loaded by this call or by the one that is loading it already; None where there is none.

        Where the database is down, a value that expired lately stands in.
        """
        self.cache.misses += 1
        absent = self._absent
        entry = absent.live.get(key)
        if entry is not None:
            entry.used = absent.tick = absent.tick + 1
            return None
        try:
            return await self._load(key)
        except DOWN as error:
            stale = self.cache.stale(key)
            if stale is None:
                raise
            self._count_stale(error)
            return stale.value

    async def fill(self, keys: Sequence[K]) -> int:
        """Loads those of the keys that are not there while there is room, and gives how many it loaded.

        The first keys matter most: they come in last, as the most recently used.
        """
        lacking = [key for key in dict.fromkeys(keys) if key not in self.cache.live][: self.cache.room][::-1]
        loaded = 0
        for first in range(0, len(lacking), FILL_AT_ONCE):
            values = await asyncio.gather(*map(self._load, lacking[first : first + FILL_AT_ONCE]))
            loaded += sum(value is not None for value in values)
        return loaded

    async def _load(self, key: K) -> V | None:
        while (flight := self._flights.get(key)) is not None:
            cancellations = _cancellations()
            self._waited += 1
            try:
                return await flight.wait()
            except asyncio.CancelledError:
                # Either this caller was cancelled, or the pilot was and somebody else has to fly. A caller that cleans
                # up after a cancellation was cancelled before, which does not count.
                if _cancellations() > cancellations or self._flights.get(key) is flight:
                    raise
        return await self._fly(key)

    async def _fly(self, key: K) -> V | None:
        flight: _Flight[V] = _Flight()
        self._flights[key] = flight
        self._in_flight += 1
        try:
            value = await self._loader.load(key)
        except Exception as error:
            self._take_off_the_board(key, flight)
            flight.crash(error)
            raise
        except BaseException:
            self._take_off_the_board(key, flight)
            flight.abandon()
            raise
        finally:
            self._in_flight -= 1
        if self._take_off_the_board(key, flight):
            self._memory.keep(key, value)
        flight.land(value)
        return value

    def _take_off_the_board(self, key: K, flight: _Flight[V]) -> bool:
        is_current = self._flights.get(key) is flight
        if is_current:
            del self._flights[key]
        return is_current

    def forget(self, key: K) -> None:
        """Drops one key and its flight."""
        self._flights.pop(key, None)
        self._memory.discard(key)

    def forget_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Drops what `unwanted(key, value)` says, and all absent keys and flights: nobody knows what they bring."""
        self._flights.clear()
        self._memory.discard_where(unwanted)

    def forget_all(self) -> None:
        """Drops everything."""
        self._flights.clear()
        self._memory.clear()

    def note(self, absent_key: K, note: Any) -> None:
        """Remembers something with an absent key, for as long as that is remembered."""
        if (entry := self._absent.live.get(absent_key)) is not None:
            entry.value = note

    def note_of(self, absent_key: K) -> Any:
        """What `note` was told, else None."""
        entry = self._absent.live.get(absent_key)
        return None if entry is None else entry.value

    def stats(self) -> CacheStats:
        """The numbers of the cache, and of what its misses led to."""
        absent = self._absent.stats()
        return replace(
            self.cache.stats(),
            absent_size=len(self._absent.live),
            absent_hits=absent.hits,
            stale_served=self._stale_served,
            loads_in_flight=self._in_flight,
            coalesced=self._waited + self._loader.coalesced,
        )

    def _count_stale(self, error: Exception) -> None:
        self._stale_served += 1
        now = self._memory.clock.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + _LOG_INTERVAL_S
            logger.warning("the database is down, expired %s go on serving: %s", self._noun, error)


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class Uncached(ReadThrough[K, V]):
    """The same face without a cache: inside a transaction every read sees the transaction's own state."""

    async def fetch(self, key: K) -> V | None:
        return await self._loader.load(key)

    async def fill(self, _: Sequence[K]) -> int:
        return 0
