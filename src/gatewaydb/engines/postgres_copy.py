"""Rows as COPY takes them. msgspec writes a row as a line of JSON, all in C, which is CSV but for a few characters."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

CSV = {"format": "csv", "escape": "\\", "null": "null"}
"""How a line of JSON reads as CSV: a quote inside of quotes has a backslash before it, as has a backslash."""

_BLOCK_ROWS = 100
_CONTROL = re.compile(rb"\\[bfnrtu]")
_ESCAPE = re.compile(rb"\\(?:u00(..)|(.))")
_CHARACTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_encoder = msgspec.json.Encoder()


async def csv_blocks(rows: Iterator[Sequence[Any]]) -> AsyncIterator[bytes]:
    """Blocks of lines. The server works on one while the next one is made, and so do other tasks in between."""
    while block := list(islice(rows, _BLOCK_ROWS)):
        yield _csv(block)
        await asyncio.sleep(0)


def _csv(rows: list[Sequence[Any]]) -> bytes:
    # A line break that stands between brackets stands between rows: inside of a text it would be escaped.
    lines = _encoder.encode_lines(rows)[1:-2].replace(b"]\n[", b"\n") + b"\n"
    # CSV knows no other escapes: control characters, which are rare, stand there as they are.
    return _ESCAPE.sub(_unescaped, lines) if _CONTROL.search(lines) else lines


def _unescaped(escape: re.Match[bytes]) -> bytes:
    code, character = escape.groups()
    if code is not None:
        return bytes.fromhex(code.decode())
    return _CHARACTERS.get(character, escape[0])
