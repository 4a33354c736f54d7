"""Time, as a thing that is handed in: the system's clock in production, a manual one in tests."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """A callback that waits for its moment."""

    def cancel(self) -> None:
        """Forget the callback; harmless once it has run."""


class Clock(Protocol):
    """What the package knows of time."""

    def now(self) -> datetime:
        """The wall clock, in UTC: for what is stored and for expiry dates."""

    def monotonic(self) -> float:
        """Seconds that never go back: for lifetimes and waits."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` on the event loop's thread in `delay` seconds."""


class SystemClock:
    """The machine's clocks and the running event loop's timers."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)


SYSTEM_CLOCK = SystemClock()
