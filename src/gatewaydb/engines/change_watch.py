"""Sees what other processes, and people with SQL, change under the caches of this one.

Triggers write every change into the table `cache_changes`, inside the transaction that makes it. Each engine has its
own way of noticing that there is something to read; what is read goes to the `ChangeFeed`, as this process's own
changes do.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from gatewaydb.clock import Clock
from gatewaydb.engines.changes import Change, ChangeFeed

ListenerState = Literal["listening", "polling", "reconnecting", "closed"]


class ChangeFeedStats(msgspec.Struct, frozen=True, kw_only=True):
    """How this process learns of changes that others make.

    `listener` is "listening" (told at once), "polling" (asks), "reconnecting" (cannot ask) or "closed". `lag` is what
    the last change took from the statement that made it to this process, by the clocks of both; `behind` is how long
    ago all changes until then were known. `messages`, `polls`, `changes`, `clears` (of everything) and `reconnects`
    are counts.
    """

    listener: ListenerState
    lag: timedelta | None
    behind: timedelta | None
    messages: int
    polls: int
    changes: int
    clears: int
    reconnects: int


class ChangeWatch(ABC):
    """The watch of one process. What it has not seen yet is seen when it is started again, or it forgets everything."""

    state: ListenerState = "closed"

    def __init__(self, clock: Clock, feed: ChangeFeed) -> None:
        self._clock = clock
        self._feed = feed
        self._lag: timedelta | None = None
        self._looked_at: float | None = None
        self.messages = 0
        self.polls = 0
        self.changes = 0
        self.clears = 0
        self.reconnects = 0

    @abstractmethod
    async def start(self) -> None:
        """Watches from now on. Where the database cannot be asked, everything is forgotten when it can be."""

    @abstractmethod
    async def close(self) -> None:
        """Harmless on a watch that is not started."""

    @abstractmethod
    def abandon(self) -> None:
        """As `close`, for an event loop that has ended."""

    def stats(self) -> ChangeFeedStats:
        """The numbers of now."""
        looked_at = self._looked_at
        return ChangeFeedStats(
            listener=self.state,
            lag=self._lag,
            behind=None if looked_at is None else timedelta(seconds=self._clock.monotonic() - looked_at),
            messages=self.messages,
            polls=self.polls,
            changes=self.changes,
            clears=self.clears,
            reconnects=self.reconnects,
        )

    def _looked(self) -> None:
        self.polls += 1
        self._looked_at = self._clock.monotonic()

    def _changed(self, changes: Sequence[Change], at: datetime) -> None:
        self._feed.publish(changes)
        self.changes += len(changes)
        self._lag = max(self._clock.now() - at, timedelta(0))

    def _forget_everything(self) -> None:
        self._feed.publish_all()
        self.clears += 1
