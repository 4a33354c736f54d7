"""The journal: a folder of append-only files on local disk, in which a record is safe before it is in the database.

    lock                 held while a process has the journal open
    00000001-0-5f3a9c21  a segment: its place in order, the number of its first frame, and the salt of its checksums
    shipped              how far shipping got, as a frame; where it is stale or unreadable, more is shipped again
    quarantine.jsonl     what could not be read, or what the database refused, each with the reason

All of it blocks, and belongs to one thread. A segment is written by the process that began it and by no other: what a
dead process left is read only, but for a torn frame at its end, which is cut off.
"""

import logging
import os
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from gatewaydb.config import JOURNAL_SEGMENT_BYTES
from gatewaydb.errors import UsageJournalError
from gatewaydb.metering import files, frames
from gatewaydb.metering.frames import Damage, Frame, Torn
from gatewaydb.metering.segments import Segment, segments_in

QUARANTINE = "quarantine.jsonl"
_CHECKPOINT = "shipped"

_LOG = logging.getLogger(__name__)
_CHECKPOINT_BYTES = 1_000
_WINDOW_BYTES = 2**20
_SEGMENTS_MIN = 4
"""Of the bound, at least: room comes back by whole segments."""


class Position(NamedTuple):
    """Between two frames: the segment's name, the offset in it, and the number of the frame that comes next."""

    segment: str
    offset: int
    number: int


class Batch(NamedTuple):
    """What comes next: whole bodies in order, damage, the number of frames that the damage held, where it ends."""

    bodies: list[bytes]
    damage: list[Damage]
    damaged: int
    after: Position


class Journal:
    """The files of one recorder. `end` is the number that the next frame gets, `at` is how far shipping got."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.end = 0
        self.at = Position("", 0, 0)
        self.size_bytes = 0
        self.torn = 0
        self._segment_bytes = min(JOURNAL_SEGMENT_BYTES, max_bytes // _SEGMENTS_MIN)
        self._segments: deque[Segment] = deque()
        self._active: int | None = None
        self._lock: int | None = None

    @property
    def backlog_bytes(self) -> int:
        """What is on the disk and not shipped; any thread may ask, also while a segment goes."""
        return max(self.size_bytes - self.at.offset, 0)

    def open(self) -> None:
        """Takes the lock and finds what an earlier process left. Raises UsageJournalError. Harmless if it is open."""
        if self._lock is not None:
            return
        with self._explained("cannot be opened"):
            files.make_folder(self.folder)
            self._lock = files.lock(self.folder)
            try:
                self._segments.extend(segments_in(self.folder))
                self._find_place()
                self._find_end()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Lets go of the files and of the lock. What was not shipped stays."""
        self._seal()
        self._segments.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, bodies: Sequence[bytes]) -> None:
        """Returns when all are on the disk; raises UsageJournalError where none of them counts."""
        with self._explained("cannot be written"):
            if self._active is None or self._segments[-1].size >= self._segment_bytes:
                self._begin_segment()
            assert self._active is not None
            segment = self._segments[-1]
            numbered = enumerate(bodies, self.end)
            data = b"".join([frames.encode(number, body, segment.salt) for number, body in numbered])
            try:
                files.write(self._active, data)
            except OSError:
                self._take_back(segment)
                raise
            try:
                files.sync(self._active)
            except OSError:
                # The kernel may have dropped the pages, and would call another attempt a success.
                self._take_back(segment)
                self._seal()
                raise
            segment.size += len(data)
            self.size_bytes += len(data)
            self.end += len(bodies)

    def read(self, max_frames: int) -> Batch | None:
        """What comes after `at`; None where nothing does. Raises OSError."""
        self._remove_shipped()
        if not self._segments or self.at.number >= self.end:
            return None
        segment, start = self._segments[0], self.at
        if start.segment != segment.name:
            start = Position(segment.name, 0, start.number)
        window = _WINDOW_BYTES
        while True:
            data = segment.read(start.offset, window)
            is_all = len(data) < window or start.offset + len(data) >= segment.size
            found = frames.decode(data, segment.salt, is_all=is_all)
            batch = _collected(found, start, self._end_of_first(), max_frames, is_all=is_all)
            if batch.after != start:
                return batch
            window *= 2

    def advance(self, after: Position) -> None:
        """Everything before `after` is dealt with: remembers it, and removes the segments that are done with."""
        self.at = after
        try:
            checkpoint = msgspec.msgpack.encode((after.segment, after.offset))
            with files.opened(self.folder / _CHECKPOINT, 0) as file:
                os.pwrite(file, frames.encode(after.number, checkpoint, 0), 0)
            self._remove_shipped()
        except OSError as error:
            _LOG.warning("journal %s: %s; what is shipped may be shipped again", self.folder, error.strerror)

    def quarantine(self, lines: Sequence[bytes]) -> None:
        """Returns when the lines are on the disk. Raises OSError."""
        with files.opened(self.folder / QUARANTINE, os.O_APPEND) as file:
            files.write(file, b"".join(line + b"\n" for line in lines))
            files.sync(file)
        files.sync_folder(self.folder)

    def retire(self) -> None:
        """Where all is shipped, gives the room of the segment that is being written back, too."""
        if self.at.number >= self.end:
            self._seal()
            with suppress(OSError):  # the next batch tries again
                self._remove_shipped()

    def _find_place(self) -> None:
        """The checkpoint holds where its segment is still there; else what is left is shipped from its beginning."""
        saved = read_checkpoint(self.folder)
        if saved is not None and saved.segment in [segment.name for segment in self._segments]:
            self.at = saved
        elif self._segments:
            self.at = Position(self._segments[0].name, 0, self._segments[0].base)
        elif saved is not None:
            self.at = saved._replace(offset=0)
        self.end = self.at.number
        while self._segments and self._segments[0].name != self.at.segment:
            self._remove_first()
        self.size_bytes = sum(segment.size for segment in self._segments)

    def _find_end(self) -> None:
        """Reads the last segment, whose end only its frames tell."""
        if not self._segments:
            return
        last = self._segments[-1]
        start = self.at if self.at.segment == last.name else Position(last.name, 0, last.base)
        self.end = start.number
        for found in frames.decode(last.read(start.offset, last.size), last.salt, is_all=True):
            match found:
                case Frame(number=number):
                    self.end = number + 1
                case Damage(last=number):
                    self.end = self.end + 1 if number is None else number + 1
                case Torn(offset=offset, data=data):
                    self._cut(last, start.offset + offset, len(data))

    def _cut(self, segment: Segment, offset: int, surplus: int) -> None:
        os.truncate(segment.path, offset)
        segment.size = offset
        self.size_bytes -= surplus
        self.torn += 1
        _LOG.warning("journal %s: cut %d bytes of a torn frame off %s", self.folder, surplus, segment.name)

    def _begin_segment(self) -> None:
        self._seal()
        place = max((int(name.partition("-")[0]) for name in self._names()), default=0) + 1
        segment = Segment(self.folder, place, self.end, secrets.randbits(32))
        active = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            files.sync_folder(self.folder)
        except OSError:
            os.close(active)
            with suppress(OSError):
                segment.path.unlink()
            raise
        self._active = active
        self._segments.append(segment)

    def _names(self) -> list[str]:
        names = [segment.name for segment in self._segments]
        return [*names, self.at.segment] if self.at.segment else names

    def _take_back(self, segment: Segment) -> None:
        assert self._active is not None
        try:
            os.ftruncate(self._active, segment.size)
        except OSError:
            self._seal()  # readers end at the last good frame; so must the next writer

    def _seal(self) -> None:
        if self._active is not None:
            active, self._active = self._active, None
            with suppress(OSError):  # everything that counts was synced before
                os.close(active)

    def _end_of_first(self) -> int:
        return self._segments[1].base if len(self._segments) > 1 else self.end

    def _remove_shipped(self) -> None:
        while self._segments and self.at.number >= self._end_of_first():
            if len(self._segments) == 1 and self._active is not None:
                if self._segments[0].size < self._segment_bytes:
                    return
                self._seal()
            self._remove_first()

    def _remove_first(self) -> None:
        segment = self._segments[0]
        segment.path.unlink(missing_ok=True)
        self._segments.popleft()
        self.size_bytes -= segment.size
        if self.at.segment == segment.name:
            self.at = self.at._replace(offset=0)
        files.sync_folder(self.folder)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except UsageJournalError:
            raise
        except OSError as error:
            raise UsageJournalError(f"the journal {self.folder} {what}: {error.strerror or error}") from error


def _collected(
    found: Iterator[Frame | Damage | Torn], start: Position, end: int, max_frames: int, *, is_all: bool
) -> Batch:
    """The frames before the one that is numbered `end`; behind that lies only what was never acknowledged."""
    bodies: list[bytes] = []
    damage: list[Damage] = []
    damaged, offset, number = 0, start.offset, start.number
    for item in found:
        if number >= end or len(bodies) >= max_frames:
            break
        match item:
            case Frame():
                bodies.append(item.body)
                offset, number = start.offset + item.end, item.number + 1
            case Damage():
                behind = end if item.last is None else min(item.last + 1, end)
                damage.append(item._replace(end=start.offset + item.end))
                damaged += behind - number
                offset, number = start.offset + item.end, behind
    else:
        number = end if is_all else number  # frames that are missing without a trace show in `dropped`
    return Batch(bodies, damage, damaged, Position(start.segment, offset, number))


def is_journal(folder: Path) -> bool:
    """Whether a recorder has been at work in this folder."""
    return (folder / files.LOCK).is_file()


def read_checkpoint(folder: Path) -> Position | None:
    """How far shipping got, if that can be read."""
    try:
        found = next(frames.decode((folder / _CHECKPOINT).read_bytes()[:_CHECKPOINT_BYTES], 0, is_all=True), None)
    except FileNotFoundError:
        return None
    if not isinstance(found, Frame):
        return None
    segment, offset = msgspec.msgpack.decode(found.body, type=tuple[str, int])
    return Position(segment, offset, found.number)
