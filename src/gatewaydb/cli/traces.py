"""Traces of requests as CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`, a request a line. Pure.

This is the form of Microsoft's Azure LLM inference traces (CC-BY, repository Azure/AzurePublicDataset): times have up
to seven digits of fraction, of which microseconds are kept, and no time zone, which means UTC.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from gatewaydb.config import COUNT_MAX
from gatewaydb.errors import InvalidValueError

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class TraceRow(NamedTuple):
    """One request; `line` is its number in the file, the header's is 1."""

    line: int
    at: datetime
    prompt_tokens: int
    completion_tokens: int


class BadLine(NamedTuple):
    """A line that is no request, and why."""

    line: int
    reason: str


def read_trace(lines: Iterable[str], file: str) -> Iterator[TraceRow | BadLine]:
    """The requests of a trace, in order; columns stand in any order, other columns are left out, as are empty lines.

    Raises InvalidValueError, which names the file, where the first line does not name the columns, and where a line is
    longer than CSV allows.
    """
    rows = csv.reader(lines)
    try:
        places = _places(next(rows, []), file)
        for cells in rows:
            if any(cell.strip() for cell in cells):
                yield _parsed(rows.line_num, cells, places)
    except csv.Error as error:
        raise InvalidValueError(f"{file}: line {rows.line_num}: {error}") from None


def record_id(owner: UUID, row: TraceRow, *others: UUID) -> UUID:
    """The id of a row's usage record: the same row at the same place for the same owner has the same id."""
    return hashed_id(row.at, "\n".join(map(str, (owner, *others, *row))))


def hashed_id(at: datetime, identity: str) -> UUID:
    """A UUIDv7 of this time, whose random part is a hash of the identity."""
    digest = int.from_bytes(sha256(identity.encode(errors="surrogateescape")).digest()[:10])
    milliseconds = max(0, int(at.timestamp() * 1000))
    number = milliseconds << 80 | digest
    number = number & ~(0xF << 76) | 7 << 76
    return UUID(int=number & ~(0b11 << 62) | 0b10 << 62)


def _places(header: list[str], file: str) -> list[int]:
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS if name.lower() not in names]
    if missing:
        raise InvalidValueError(f"{file}: has no column {', '.join(missing)}; a trace has {','.join(COLUMNS)}")
    return [names.index(name.lower()) for name in COLUMNS]


def _parsed(line: int, cells: list[str], places: list[int]) -> TraceRow | BadLine:
    try:
        at, prompt, completion = (cells[place].strip() for place in places)
        return TraceRow(line, _time(at), _count(COLUMNS[1], prompt), _count(COLUMNS[2], completion))
    except IndexError:
        return BadLine(line, f"has {len(cells)} of {max(places) + 1} columns")
    except ValueError as error:
        return BadLine(line, str(error))


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{COLUMNS[0]}: {text[:40]!r} is no time") from None


def _count(column: str, text: str) -> int:
    # Sixteen digits hold the largest count; `int` alone would take signs, underscores and other scripts' digits.
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= COUNT_MAX):
        raise ValueError(f"{column}: {text[:40]!r} is no number of tokens")
    return int(text)
