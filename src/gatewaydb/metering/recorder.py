"""Records usage without waiting for the database: safe on local disk first, in the database soon after."""

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import msgspec

from gatewaydb.clock import Clock
from gatewaydb.config import JOURNAL_MAX_BYTES, JOURNAL_MIN_BYTES, RECORDER_CLOSE_TIMEOUT
from gatewaydb.engines.group_commit import GroupCommit
from gatewaydb.entities import UsageRecord
from gatewaydb.errors import ConfigurationError, GatewayDBError, InvalidValueError, UsageBacklogFull
from gatewaydb.metering.frames import HEADER_BYTES
from gatewaydb.metering.journal import Journal
from gatewaydb.metering.room import Room
from gatewaydb.metering.shipper import Shipper, UsageSink, encoded

T = TypeVar("T")
WhenFull = Literal["wait", "raise"]
_LOG = logging.getLogger(__name__)
_CLOSED = "this recorder was closed"
_GROUP_MAX = 5_000


class RecorderStats(msgspec.Struct, frozen=True, kw_only=True):
    """What one recorder did since it was opened, in records, and what is still to do.

    `path` is the journal's folder. `found` were left by an earlier process, `recorded` were acknowledged by this one.
    Each of them is in exactly one of `shipped` (in the database), `rejected` (refused by it), `quarantined` (damaged on
    disk) and `backlog_records`; what is in none is `dropped`. `torn` counts cut-off frames, which nobody was told were
    safe. `oldest_age` is the age of the oldest record of the backlog; `last_error` is why shipping fails now, None
    while it works. `waiting` are callers who wait for room.
    """

    path: str
    recorded: int
    found: int
    shipped: int
    rejected: int
    quarantined: int
    torn: int
    dropped: int
    backlog_records: int
    backlog_bytes: int
    max_bytes: int
    oldest_age: timedelta | None
    last_error: str | None
    waiting: int


class UsageRecorder:
    """A journal in the folder `path`, and a task that ships it to the database, from `db.recorder(path)`.

    It opens by itself with the first record. `async with` opens it at once, which ships what an earlier process left,
    and closes it.
    """

    def __init__(
        self,
        store: UsageSink,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = JOURNAL_MAX_BYTES,
        when_full: WhenFull = "wait",
        clock: Clock,
        opened: "set[UsageRecorder]",
    ) -> None:
        if max_bytes < JOURNAL_MIN_BYTES:
            raise ConfigurationError(f"max_bytes: must be at least {JOURNAL_MIN_BYTES}")
        if when_full not in ("wait", "raise"):
            raise ConfigurationError("when_full: must be 'wait' or 'raise'")
        self._store = store
        self._when_full = when_full
        self._clock = clock
        self._opened = opened
        self._journal = Journal(Path(path).absolute(), max_bytes)
        self._group: GroupCommit[bytes] = GroupCommit(self._write, self._require_open, 1, _GROUP_MAX, (Exception,))
        self._opening: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._shipper: Shipper | None = None
        self._is_closed = False
        self._room = Room(max_bytes, lambda: self._journal.size_bytes)
        self._found = self._recorded = self._end = 0

    async def open(self) -> None:
        """Takes the journal and begins to ship what is in it. Raises UsageJournalError. Harmless if it is open."""
        self._require_open()
        if self._shipper is not None:
            return
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._has_opened)
        await asyncio.shield(self._opening)

    async def record(self, record: UsageRecord) -> None:
        """Returns when the record is safe on local disk; it is in the database soon after, once.

        Calls of many tasks share a write. A caller that is cancelled may record the same record again: it counts once.
        Raises InvalidValueError, UsageBacklogFull (where `when_full` is "raise"), and UsageJournalError where the disk
        does not take it: then it is not recorded.
        """
        body = encoded(record.checked())
        if self._shipper is None:
            await self.open()
        if not self._room.take(HEADER_BYTES + len(body)):
            await self._wait_for_room(HEADER_BYTES + len(body))
        await self._group.add(body)

    async def flush(self) -> None:
        """Returns when everything that was recorded so far is in the database, however long that takes."""
        await self.open()
        assert self._shipper is not None
        await self._shipper.reached(self._end)

    async def close(self) -> None:
        """Ships what it can within five seconds; the rest stays in the journal, for the next process."""
        self._is_closed = True
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self not in self._opened or self._shipper is None or self._thread is None:
            return
        self._opened.discard(self)
        self._room.refuse(GatewayDBError(_CLOSED))
        try:
            await self._group.flush()
            await self._shipper.stop(RECORDER_CLOSE_TIMEOUT)
        finally:
            self._thread.submit(self._journal.retire)
            self._thread.submit(self._journal.close)
            self._thread.shutdown()
        if backlog := self._end - self._shipper.number:
            _LOG.warning("%d records are left in %s for the next process", backlog, self._journal.folder)

    def stats(self) -> RecorderStats:
        """The numbers of now."""
        shipper = self._shipper
        shipped, rejected, quarantined = (
            (shipper.shipped, shipper.rejected, shipper.quarantined) if shipper else (0, 0, 0)
        )
        backlog = self._end - shipper.number if shipper else 0
        dropped = self._found + self._recorded - shipped - rejected - quarantined - backlog
        oldest = shipper.oldest if shipper else None
        return RecorderStats(
            path=str(self._journal.folder),
            recorded=self._recorded,
            found=self._found,
            shipped=shipped,
            rejected=rejected,
            quarantined=quarantined,
            torn=self._journal.torn,
            dropped=dropped,
            backlog_records=backlog,
            backlog_bytes=self._journal.backlog_bytes,
            max_bytes=self._room.max_bytes,
            oldest_age=self._clock.now() - oldest if backlog and oldest else None,
            last_error=shipper.last_error if shipper else None,
            waiting=self._room.waiting,
        )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gatewaydb-journal")
        try:
            await self._on_thread(self._journal.open)
        except BaseException:
            self._thread.shutdown()
            raise
        self._end = self._journal.end
        self._found = self._end - self._journal.at.number
        self._shipper = Shipper(self._journal, self._store, self._on_thread, self._clock, self._room)
        self._opened.add(self)

    def _has_opened(self, opening: "asyncio.Task[None]") -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # those who wait have it; there may be none left

    async def _write(self, bodies: list[bytes]) -> None:
        try:
            await self._on_thread(self._journal.append, bodies)
            count = len(bodies)
            # No call in between: another thread that reads the numbers sees both or neither. So it is in the shipper.
            self._end += count
            self._recorded += count
        finally:
            self._room.put_back(sum(HEADER_BYTES + len(body) for body in bodies))
            self._room.share()
        assert self._shipper is not None
        self._shipper.wake()

    async def _on_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _require_open(self) -> None:
        if self._is_closed:
            raise GatewayDBError(_CLOSED)

    async def _wait_for_room(self, size: int) -> None:
        room = self._room
        if size > room.max_bytes:
            raise InvalidValueError(f"record: takes {size} bytes in the journal, {room.max_bytes} are the most")
        if self._when_full == "raise":
            raise UsageBacklogFull(f"the journal {self._journal.folder} has reached its {room.max_bytes} bytes")
        assert self._shipper is not None
        self._shipper.wake()  # it gives room where all is shipped
        await room.wait(size)
