"""How one record lies in a file of the journal, and how to find the next one behind damage.

    magic 4 | length of the body 4 | number 8 | CRC-32 of the body 4 | CRC-32 of these 20 bytes 4 | body

All numbers are big-endian. Both checksums begin with the file's salt, so neither the text of a record nor what the disk
held before can pass as a frame. Header and body have one each: a flipped bit in a body leaves the length to be trusted,
and one in a header shows before its length is.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple
from zlib import crc32

_MAGIC = b"\xf0GJ\x01"
_HEADER = Struct(">4sIQI")
_CHECKSUM = Struct(">I")
HEADER_BYTES = _HEADER.size + _CHECKSUM.size


class Frame(NamedTuple):
    """A whole frame; `end` is the offset behind it."""

    number: int
    end: int
    body: bytes


class Damage(NamedTuple):
    """Bytes that are no frame, up to `end`. `last` is the number of the last frame they held; None: up to the end."""

    end: int
    data: bytes
    last: int | None


class Torn(NamedTuple):
    """The start of a frame, which the file's end cuts off at `offset`: it was never acknowledged."""

    offset: int
    data: bytes


def encode(number: int, body: bytes, salt: int) -> bytes:
    """One frame."""
    header = _HEADER.pack(_MAGIC, len(body), number, crc32(body, salt))
    return b"".join((header, _CHECKSUM.pack(crc32(header, salt)), body))


def decode(data: bytes, salt: int, *, is_all: bool) -> Iterator[Frame | Damage | Torn]:
    """What `data` holds, in order, from a frame's border on.

    Where more follows in the file (not `is_all`), it ends before what may be whole once more is read.
    """
    at = 0
    while at < len(data):
        header = _header(data, at, salt)
        found = _behind_damage(data, at, salt) if header is None else _frame(data, at, salt, *header)
        if isinstance(found, Torn) or (isinstance(found, Damage) and found.last is None):
            if is_all:
                yield found
            return
        yield found
        at = found.end


def _header(data: bytes, at: int, salt: int) -> tuple[int, int, int] | None:
    """(length, number, checksum of the body), or None where no header is."""
    body = at + HEADER_BYTES
    if body > len(data):
        return None
    magic, length, number, checksum = _HEADER.unpack_from(data, at)
    if magic != _MAGIC or _CHECKSUM.unpack_from(data, body - _CHECKSUM.size)[0] != crc32(
        data[at : at + _HEADER.size], salt
    ):
        return None
    return length, number, checksum


def _frame(data: bytes, at: int, salt: int, length: int, number: int, checksum: int) -> Frame | Damage | Torn:
    start = at + HEADER_BYTES
    end = start + length
    if end > len(data):
        return Torn(at, data[at:])
    body = data[start:end]
    return Frame(number, end, body) if crc32(body, salt) == checksum else Damage(end, data[at:end], number)


def _behind_damage(data: bytes, at: int, salt: int) -> Damage | Torn:
    if len(data) - at < HEADER_BYTES:
        return Torn(at, data[at:])
    following = data.find(_MAGIC, at + 1)
    while following >= 0:
        header = _header(data, following, salt)
        if header is not None:
            return Damage(following, data[at:following], header[1] - 1)
        following = data.find(_MAGIC, following + 1)
    return Damage(len(data), data[at:], None)
