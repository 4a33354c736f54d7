"""The bound on a journal's size: who comes when it is reached waits for room, in order."""

import asyncio
from collections import deque
from collections.abc import Callable

from gatewaydb.errors import GatewayDBError


class Room:
    """`written()` is what the disk holds. What was taken and is not written yet counts as well."""

    def __init__(self, max_bytes: int, written: Callable[[], int]) -> None:
        self.max_bytes = max_bytes
        self._written = written
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def take(self, size: int) -> bool:
        """Takes so many bytes if there are as many and nobody waits for some."""
        is_there = not self._waiting and self._is_free(size)
        if is_there:
            self._taken += size
        return is_there

    async def wait(self, size: int) -> None:
        """Returns when so many bytes were taken for the caller."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif not turn.cancelled():
                self.put_back(size)
            self.share()
            raise

    def put_back(self, size: int) -> None:
        """What was taken is written, or will not be."""
        self._taken -= size

    def share(self) -> None:
        """There may be more room: those who wait go on, in their order."""
        while self._waiting and self._is_free(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += size
                turn.set_result(None)

    def refuse(self, error: GatewayDBError) -> None:
        """There will be no more."""
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    def _is_free(self, size: int) -> bool:
        return self._written() + self._taken + size <= self.max_bytes
