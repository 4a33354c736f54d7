"""Loads what a cache lacks: once for all who ask at the same time, and never a value that was revoked meanwhile.

The first caller to miss a key loads it itself; who comes while that flight is in the air waits for it. Forgetting a
key also takes its flight off the board: those who wait for it began before the change was done and may see the old
value, but whoever asks later starts a flight of its own, and a flight that is not on the board when it lands stores
nothing. So once an invalidation has returned, nothing that was read before it is served after it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from gatewaydb.cache.lru import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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
    """`fetch` is the way of a miss; `load(key)` gives the value or None, and what it raises is cached by nobody."""

    def __init__(self, cache: LRUCache[K, V], load: Callable[[K], Awaitable[V | None]]) -> None:
        self.cache = cache
        self._load = load
        self._flights: dict[K, _Flight[V]] = {}

    async def fetch(self, key: K) -> V | None:
        """The value, loaded by this call or by the one that is loading it already; None where there is none."""
        self.cache.misses += 1
        while (flight := self._flights.get(key)) is not None:
            cancellations = _cancellations()
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
        try:
            value = await self._load(key)
        except Exception as error:
            self._take_off_the_board(key, flight)
            flight.crash(error)
            raise
        except BaseException:
            self._take_off_the_board(key, flight)
            flight.abandon()
            raise
        if self._take_off_the_board(key, flight) and value is not None:
            self.cache.put(key, value)
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
        self.cache.discard(key)

    def forget_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Drops what `unwanted(key, value)` says, and all flights: nobody knows yet what they bring."""
        self._flights.clear()
        self.cache.discard_where(unwanted)

    def forget_all(self) -> None:
        """Drops everything."""
        self._flights.clear()
        self.cache.clear()


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class Uncached(ReadThrough[K, V]):
    """The same face without a cache: inside a transaction every read sees the transaction's own state."""

    async def fetch(self, key: K) -> V | None:
        return await self._load(key)
