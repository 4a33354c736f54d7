"""Moves what is in the journal to the database, in order, and for as long as it takes.

A batch that an outage cuts off is read and sent again: what is there already counts once. So how far shipping got moves
only when every record of a batch is in the database or in the quarantine.
"""

import asyncio
import logging
import random
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from gatewaydb.clock import Clock
from gatewaydb.config import SHIPPING_BACKOFF_FIRST, SHIPPING_BACKOFF_MAX, SHIPPING_BATCH_MAX_RECORDS
from gatewaydb.entities import UsageRecord
from gatewaydb.errors import DatabaseUnavailableError, GatewayDBError, InvalidValueError, QueryTimeoutError
from gatewaydb.metering.journal import Batch, Journal
from gatewaydb.metering.room import Room

T = TypeVar("T")
OnThread = Callable[..., Awaitable[T]]

_LOG = logging.getLogger(__name__)
_OUTAGE = (DatabaseUnavailableError, QueryTimeoutError)
_DOUBLINGS_MAX = 16
_from_msgpack = msgspec.msgpack.Decoder(UsageRecord)
_from_json = msgspec.json.Decoder(UsageRecord)


class UsageSink(Protocol):
    """What shipping asks of `db.usage`."""

    async def create_many(self, records: Sequence[UsageRecord]) -> int: ...


class Quarantined(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of quarantine.jsonl: a `record` that the database refused, or `data` (base64) that is no record."""

    at: datetime
    reason: str
    record: UsageRecord | None = None
    data: str | None = None
    segment: str | None = None
    offset: int | None = None


class _Next(NamedTuple):
    batch: Batch
    records: list[UsageRecord]
    unreadable: list[Quarantined]


def encoded(record: UsageRecord) -> bytes:
    """The record as it lies in the journal: MessagePack, or JSON where a number in its metadata has over 64 bits."""
    try:
        return msgspec.msgpack.encode(record)
    except OverflowError:
        return msgspec.json.encode(record)


def decoded(body: bytes) -> UsageRecord:
    """The record again. Raises msgspec.MsgspecError where another version wrote what this one cannot read."""
    return (_from_json if body.startswith(b"{") else _from_msgpack).decode(body)


class Shipper:
    """One task, one batch at a time. `on_thread(function, *arguments)` runs what touches the journal."""

    def __init__(self, journal: Journal, store: UsageSink, on_thread: OnThread[Any], clock: Clock, room: Room) -> None:
        self._journal = journal
        self._store = store
        self._on_thread = on_thread
        self._clock = clock
        self._room = room
        self._batch_max = SHIPPING_BATCH_MAX_RECORDS
        self._failures = 0
        self._is_closing = False
        self._news = asyncio.Event()
        self._due = asyncio.Event()
        self._moved = asyncio.Event()
        self.number = journal.at.number
        self.oldest: datetime | None = None
        self.last_error: str | None = None
        self.shipped = self.rejected = self.quarantined = 0
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """There is something new to ship."""
        self._news.set()

    async def reached(self, number: int) -> None:
        """Returns when every frame before that number is dealt with."""
        while self.number < number:
            if self._task.done():
                raise GatewayDBError("the recorder was closed before everything was in the database")
            await self._moved.wait()

    async def stop(self, timeout: timedelta) -> None:
        """Ships what there is, if the database takes it at once and within the timeout."""
        self._is_closing = True
        self._news.set()
        self._due.set()
        try:
            await asyncio.wait([self._task], timeout=timeout.total_seconds())
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._moved.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                is_more = await self._ship_next()
            except Exception as error:  # noqa: BLE001 - whatever it is, the records wait for it to pass
                if self._is_closing:
                    return
                await self._back_off(error)
                continue
            if is_more:
                self._recover()
            elif self._is_closing:
                return
            else:
                await self._news.wait()

    async def _ship_next(self) -> bool:
        """Whether there was anything to ship."""
        following = await self._on_thread(self._read)
        if following is None:
            self.oldest = None
            self._room.share()
            return False
        if following.records:
            self.oldest = following.records[0].request_timestamp
        refused = await self._stored(following.records)
        await self._on_thread(self._conclude, following, refused)
        shipped, rejected = len(following.records) - len(refused), len(refused) + len(following.unreadable)
        self.shipped += shipped
        self.rejected += rejected
        self.quarantined += following.batch.damaged
        self.number = following.batch.after.number
        self._moved.set()
        self._moved = asyncio.Event()
        self._room.share()
        return True

    async def _stored(self, records: Sequence[UsageRecord]) -> list[Quarantined]:
        """Those that the database refuses, each alone to blame. Raises where it takes nothing at all."""
        if not records:
            return []
        try:
            await self._store.create_many(records)
        except _OUTAGE:
            raise
        except Exception as error:  # noqa: BLE001 - it is quarantined with the record
            refusal = error
        else:
            return []
        if len(records) > 1:
            middle = len(records) // 2
            return await self._stored(records[:middle]) + await self._stored(records[middle:])
        if not isinstance(refusal, InvalidValueError):
            # A table that is missing or a right that was taken away is no fault of the record, and shows here.
            await self._store.create_many([])
        return [Quarantined(at=self._clock.now(), reason=_reason(refusal), record=records[0])]

    def _read(self) -> _Next | None:
        batch = self._journal.read(self._batch_max)
        if batch is None:
            if self._room.waiting:
                self._journal.retire()
            return None
        following = _Next(batch, [], [])
        for body in batch.bodies:
            try:
                following.records.append(decoded(body))
            except msgspec.MsgspecError as error:
                data = b64encode(body).decode()
                following.unreadable.append(Quarantined(at=self._clock.now(), reason=f"no record: {error}", data=data))
        return following

    def _conclude(self, following: _Next, refused: list[Quarantined]) -> None:
        """The quarantine is on the disk before the journal moves past what is in it."""
        batch, journal = following.batch, self._journal
        damaged = [
            Quarantined(
                at=self._clock.now(),
                reason="damaged: a checksum does not fit",
                data=b64encode(damage.data).decode(),
                segment=batch.after.segment,
                offset=damage.end - len(damage.data),
            )
            for damage in batch.damage
        ]
        lines = [*damaged, *following.unreadable, *refused]
        if lines:
            journal.quarantine([msgspec.json.encode(line) for line in lines])
            _LOG.warning("journal %s: %d entries in quarantine: %s", journal.folder, len(lines), lines[0].reason)
        missing = batch.after.number - self.number - len(batch.bodies) - batch.damaged
        if missing:
            _LOG.error("journal %s: %d records are gone from %s", journal.folder, missing, batch.after.segment)
        journal.advance(batch.after)

    async def _back_off(self, error: Exception) -> None:
        self.last_error = _reason(error)
        if not self._failures:
            _LOG.warning("usage is kept in %s until the database takes it: %s", self._journal.folder, self.last_error)
        longest = SHIPPING_BACKOFF_FIRST * 2 ** min(self._failures, _DOUBLINGS_MAX)
        delay_s = min(longest, SHIPPING_BACKOFF_MAX).total_seconds() * random.uniform(0.5, 1)  # noqa: S311
        self._failures += 1
        # The next attempt is a small one: a database that is away should cost little, and one that is slow can take it.
        self._batch_max = 1
        self._due.clear()
        timer = self._clock.call_later(delay_s, self._due.set)
        try:
            await self._due.wait()
        finally:
            timer.cancel()

    def _recover(self) -> None:
        self._batch_max = min(self._batch_max * 2, SHIPPING_BATCH_MAX_RECORDS)
        if self._failures:
            _LOG.info("the database takes usage from %s again", self._journal.folder)
            self._failures, self.last_error = 0, None


def _reason(error: Exception) -> str:
    """Our own errors and the system's hold no secrets; of others only the kind is told."""
    kind = type(error).__name__
    match error:
        case GatewayDBError():
            return f"{kind}: {error}"
        case OSError(strerror=str(text)):
            return f"{kind}: {text}"
    return kind
