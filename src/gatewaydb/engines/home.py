"""Where an engine may be used, and how long those wait who use it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gatewaydb.engines.changes import NotConnectedError
from gatewaydb.errors import GatewayDBError

NOT_OPEN = "the database is not open"
WAS_CLOSED = "the database was closed"


class Home:
    """The event loop on which an engine was opened. Connections, locks and timers belong to it."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0

    @property
    def is_here(self) -> bool:
        """Whether the running loop is the one."""
        return asyncio.get_running_loop() is self._loop

    @property
    def is_lost(self) -> bool:
        """Whether it has ended, so that nothing can be closed on it any more."""
        return self._loop is not None and self._loop.is_closed() and self._process == os.getpid()

    def enter(self) -> None:
        """Make the running loop the one. Raises GatewayDBError if there is one."""
        if self._loop is not None:
            raise GatewayDBError("this database is open already")
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()

    def leave(self) -> None:
        """From now on there is none."""
        self._loop = None

    def require(self) -> None:
        """Raises DatabaseUnavailableError where there is none, and GatewayDBError anywhere else."""
        # A comparison: it stands on the way of every miss and every write.
        if asyncio.get_running_loop() is self._loop:
            return
        if self._loop is None:
            raise NotConnectedError(NOT_OPEN)
        if self._process != os.getpid():
            raise GatewayDBError(
                "this database was opened before this process was forked off: open one in each process"
            )
        raise GatewayDBError(
            "this database was opened on another event loop, or in another thread: each loop needs one of its own"
        )

    def require_for_closing(self) -> None:
        """As `require`; but what is closed already, or whose loop has ended, may be closed from anywhere."""
        if self._loop is not None and not self.is_lost:
            self.require()


class Waits:
    """The bounded waits that are under way, so that closing can end them all."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raises TimeoutError after `seconds`, or when they are cut."""
        async with asyncio.timeout(seconds) as wait:
            self._open.add(wait)
            try:
                yield
            finally:
                self._open.discard(wait)

    def cut(self) -> None:
        """None of those that are under way waits any longer."""
        now = asyncio.get_running_loop().time()
        for wait in self._open:
            if not wait.expired():
                wait.reschedule(now)
