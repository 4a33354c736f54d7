"""Many small writes as few transactions.

There is no timer: a group is what arrived while the groups before it were being written. So a write that comes alone
goes at once, and the busier it gets, the larger the groups become.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from gatewaydb.engines.changes import UNCERTAIN, NotConnectedError
from gatewaydb.errors import DatabaseUnavailableError

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
_Waiting = tuple[T, "asyncio.Future[None]"]


Write = Callable[[list[T]], Awaitable[Any]]
"""Writes all of the items or none, as one transaction, and may be called again with the same ones."""

GROUP_MAX = 1_000
_UNWIND_S = 1.0


class Writer(Protocol[T_contra]):
    """Where single items go."""

    async def add(self, item: T_contra) -> None:
        """Returns when the item is written."""


class GroupCommit(Generic[T]):
    """At most `groups_at_once` groups are being written at a time. `check()` is asked first, in the caller's task.

    An error of `fails_whole` is the error of all in the group; after any other, halves of it are tried.
    """

    def __init__(
        self,
        write: Write[T],
        check: Callable[[], None],
        groups_at_once: int,
        group_max: int = GROUP_MAX,
        fails_whole: tuple[type[BaseException], ...] = UNCERTAIN,
    ) -> None:
        self._write = write
        self._check = check
        self._groups_at_once = groups_at_once
        self._group_max = group_max
        self._fails_whole = fails_whole
        self._waiting: deque[_Waiting[T]] = deque()
        # What each of them is writing.
        self._writers: dict[asyncio.Task[None], list[_Waiting[T]]] = {}

    async def add(self, item: T) -> None:
        """Returns when the item is committed; raises what `write` raised for it, and only for it.

        A caller that is cancelled meanwhile does not know whether it was written.
        """
        self._check()
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        if len(self._writers) < self._groups_at_once:
            writer = asyncio.create_task(self._write_groups())
            self._writers[writer] = []
            writer.add_done_callback(self._leave)  # one that never ran cannot leave by itself
        await written

    async def flush(self, timeout_s: float = math.inf) -> None:
        """Returns when nothing is waiting or being written.

        Who is not written after `timeout_s`, or when this call is cancelled, gets DatabaseUnavailableError.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            while self._writers and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
                await asyncio.wait(self._writers, timeout=None if left_s == math.inf else left_s)
        finally:
            if self._writers:
                await self._cut()

    def forget(self) -> None:
        """Drops what waited on an event loop that has ended."""
        self._waiting.clear()
        self._writers.clear()

    async def _cut(self) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        _settle(waiting, NotConnectedError("the database was closed before this was written"))
        for writer, group in self._writers.items():
            _settle(group, DatabaseUnavailableError("the database was closed while this was being written"))
            writer.cancel()
        await asyncio.wait(self._writers, timeout=_UNWIND_S)

    def _leave(self, writer: "asyncio.Task[None]") -> None:
        self._writers.pop(writer, None)

    async def _write_groups(self) -> None:
        writer = asyncio.current_task()
        assert writer is not None
        while self._waiting:
            group = list(islice(self._waiting, self._group_max))
            for _ in group:
                self._waiting.popleft()
            self._writers[writer] = group
            await self._write_group(group)
        # Now and not in a callback: those who were just told that they are written may add more before that runs.
        self._leave(writer)

    async def _write_group(self, group: list[_Waiting[T]]) -> None:
        try:
            await self._write([item for item, _ in group])
        except Exception as error:  # noqa: BLE001 - it is handed to whom it concerns
            if len(group) == 1 or isinstance(error, self._fails_whole):
                _settle(group, error)
                return
            # One of them is to blame: halves of halves find it, and the others go through.
            middle = len(group) // 2
            await self._write_group(group[:middle])
            await self._write_group(group[middle:])
        except asyncio.CancelledError:
            for _, written in group:
                written.cancel()
            raise
        else:
            _settle(group, None)


class Ungrouped(Generic[T]):
    """The same face inside a transaction, which is one group already."""

    def __init__(self, write: Write[T]) -> None:
        self._write = write

    async def add(self, item: T) -> None:
        """Returns when the item is written; it is committed with its transaction."""
        await self._write([item])


def _settle(group: list[_Waiting[T]], error: Exception | None) -> None:
    for _, written in group:
        if written.done():  # its caller was cancelled
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
