"""A clock that stands still until a test moves it, and a wait for what only the real one can bring."""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 15, 12, tzinfo=UTC)


class ManualTimer:
    """A callback that waits in a `ManualClock`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forget the callback."""
        self._callback = None

    def fire(self) -> None:
        """Run the callback, unless it was cancelled or has run."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class ManualClock:
    """A `gatewaydb.clock.Clock` whose time passes in `advance` only."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, ManualTimer]] = []

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_s

    def call_later(self, delay: float, callback: Callable[[], None]) -> ManualTimer:
        """Have `advance` run the callback when `delay` seconds have passed."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed_s + delay, next(self._numbers), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass: what falls due runs at its own moment, in order, and so does what that arranges."""
        end = self._elapsed_s + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._elapsed_s = max(self._elapsed_s, due)
            timer.fire()
        self._elapsed_s = end


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 30) -> None:
    """Return once the condition holds, of what sends no event. TimeoutError if it never does."""
    async with asyncio.timeout(timeout_s):
        while not (await holds if isinstance(holds := condition(), Awaitable) else holds):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
