"""Nobody waits for a timeout that another has just suffered.

An error that means an outage opens the breaker: from then on reads fail at once. One probe at a time asks the database
in the background, at first at once and then after ever longer pauses, and its first answer closes the breaker. So does
an answer that anybody else was given meanwhile. No caller's read is a probe.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from gatewaydb.clock import Clock
from gatewaydb.engines.changes import NoneFreeError
from gatewaydb.errors import DatabaseUnavailableError, QueryTimeoutError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.25
# Together with a pause it is a second, in which recovery is noticed whatever became of the probe before. A database
# that takes longer for one row by its index is as good as down.
PROBE_TIMEOUT_S = 0.75

OUTAGE = (DatabaseUnavailableError, QueryTimeoutError)
Probe = Callable[[], Awaitable[object]]


class Breaker:
    """Closed until `note` is told of an outage, and again when a probe was answered. It does nothing until `start`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_started = False
        self._outage: Exception | None = None
        self._recovery: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Future[object]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the database is taken for down."""
        return self._outage is not None

    def check(self) -> None:
        """Raises DatabaseUnavailableError while the breaker is open."""
        if self._outage is not None:
            raise DatabaseUnavailableError(f"the database does not answer: {self._outage}")

    def note(self, error: Exception, probe: Probe) -> None:
        """Opens the breaker, if the error means an outage; `probe` is asked until it is answered.

        That others held all connections for too long is none: the database answers them.
        """
        is_outage = isinstance(error, OUTAGE) and not isinstance(error, NoneFreeError)
        if is_outage and self._is_started and self._outage is None:
            self._outage = error
            self._recovery = asyncio.create_task(self._recover(probe))

    def note_answer(self) -> None:
        """The database answered somebody: it was unavailable, and is not now.

        After a timeout this says little, because what is locked may be one table: only a probe or `close` ends that.
        """
        if isinstance(self._outage, DatabaseUnavailableError):
            self.close()

    def close(self) -> None:
        """Lets the next read try."""
        self._outage = None
        if self._recovery is not None:
            self._recovery.cancel()

    def start(self) -> None:
        """From now on there is a database that can be down."""
        self._is_started = True

    async def stop(self) -> None:
        """Ends the probing and closes the breaker."""
        self._is_started = False
        self.close()
        tasks = [task for task in (self._recovery, *self._probes) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def forget(self) -> None:
        """As `stop`, where the event loop has ended."""
        self._is_started = False
        self._outage = self._recovery = None
        self._probes.clear()

    async def _recover(self, probe: Probe) -> None:
        pause_s = FIRST_PAUSE_S
        while not await self._is_answered(probe):
            await self._sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._outage = None

    async def _is_answered(self, probe: Probe) -> bool:
        asked = asyncio.ensure_future(probe())
        self._probes.add(asked)
        asked.add_done_callback(self._forget_probe)
        # A probe that is cancelled may take long to let go of its connection: the next does not wait for that.
        await asyncio.wait([asked], timeout=PROBE_TIMEOUT_S)
        if not asked.done():
            asked.cancel()
            return False
        return asked.exception() is None

    def _forget_probe(self, asked: "asyncio.Future[object]") -> None:
        self._probes.discard(asked)
        if not asked.cancelled():
            asked.exception()

    async def _sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(seconds, partial(_wake, woken))
        try:
            await woken
        finally:
            timer.cancel()


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)
