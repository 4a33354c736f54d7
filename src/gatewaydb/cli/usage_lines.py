"""Usage records as lines of text, CSV or JSON, and back without a loss. Pure.

Both have the fields of UsageRecord under their names. Money is exact decimal text, a time ISO 8601 in UTC, an id text.
In CSV what is None, or an empty object, is an empty cell, and an object is JSON.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from msgspec.structs import FieldInfo, asdict, astuple, fields

from gatewaydb import InvalidValueError, UsageRecord
from gatewaydb.cli import traces
from gatewaydb.cli.traces import BadLine, TraceRow
from gatewaydb.config import METADATA_MAX_BYTES

COLUMNS = UsageRecord.__struct_fields__
_COST = COLUMNS.index("cost_usd")
OBJECTS = ("request_metadata", "response_metadata", "billable", "pricing_context")
_FIRST_OBJECT = COLUMNS.index(OBJECTS[0])
assert COLUMNS[_FIRST_OBJECT:] == OBJECTS

_CELL_MAX_CHARS = 2 * METADATA_MAX_BYTES
_REASON = re.compile(r"(.*) - at `\$\.([^`]*)`")


def json_line(record: UsageRecord) -> bytes:
    """The record as one line of JSON."""
    values = asdict(record)
    if record.cost_usd is not None:
        values["cost_usd"] = f"{record.cost_usd:f}"
    return msgspec.json.encode(values) + b"\n"


def csv_cells(record: UsageRecord) -> list[object]:
    """The record as the cells of a row, in the order of COLUMNS; None makes an empty cell."""
    cells: list[object] = [
        value.isoformat() if isinstance(value, datetime) else value for value in astuple(record)[:_FIRST_OBJECT]
    ]
    if record.cost_usd is not None:
        cells[_COST] = f"{record.cost_usd:f}"
    return cells + [object_text(getattr(record, name)) for name in OBJECTS]


def object_text(value: object) -> str | None:
    """The JSON of an object; None where it holds nothing."""
    return msgspec.json.encode(value).decode() if value or not isinstance(value, Mapping | None) else None


class UsageLine(NamedTuple):
    """One record as it was written; `api_key` and `model` name what the database has to be asked for."""

    line: int
    text: str
    api_key: str | None
    model: str | None
    fields: dict[str, Any]

    def record(self, api_key_id: UUID, **defaults: Any) -> UsageRecord:
        """The checked record; what the line leaves out comes from `defaults`. Raises InvalidValueError.

        A line without an id has one that follows from its key, its number and its text, so that it counts once
        however often it is read.
        """
        values = defaults | {name: value for name, value in self.fields.items() if value is not None}
        at = values.get("request_timestamp")
        if at is None:
            raise InvalidValueError("request_timestamp: must be given")
        if at.tzinfo is None:
            values["request_timestamp"] = at = at.replace(tzinfo=UTC)
        if "id" not in values:
            values["id"] = traces.hashed_id(at, f"{api_key_id}\n{self.line}\n{self.text}")
        return UsageRecord(**values | {"api_key_id": api_key_id}).checked()


def _optional(field: FieldInfo) -> tuple[str, Any, Any]:
    return field.name, field.type | None, None


_Parsed = msgspec.defstruct(
    "_Parsed",
    [*map(_optional, fields(UsageRecord)), ("api_key", str | None, None), ("model", str | None, None)],
    forbid_unknown_fields=True,
    gc=False,
)
_NAMES = _Parsed.__struct_fields__
_decoder = msgspec.json.Decoder(_Parsed)


def read_usage(lines: Iterator[str], file: str) -> Iterator[TraceRow | UsageLine | BadLine]:
    """The requests of a file, whose first line tells whether it is JSON lines, CSV or a trace.

    Raises InvalidValueError, which names the file, where the first line is the beginning of none of them.
    """
    first = next(lines, None)
    if first is None:
        return iter(())  # an export of no usage as JSON lines
    everything = chain([first], lines)
    if first.lstrip().startswith("{"):
        return _read_json(everything)
    if traces.COLUMNS[0].lower() in [name.strip(' "\r\n').lower() for name in first.split(",")]:
        return traces.read_trace(everything, file)
    return _read_csv(everything, file)


def _read_json(lines: Iterable[str]) -> Iterator[UsageLine | BadLine]:
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            try:
                yield _usage_line(number, text, asdict(_decoder.decode(text)))
            except ValueError as error:
                yield BadLine(number, _reason(error))


def _read_csv(lines: Iterable[str], file: str) -> Iterator[UsageLine | BadLine]:
    # csv has one limit for all; what is longer than any field of ours is a quote that was never closed.
    csv.field_size_limit(_CELL_MAX_CHARS)
    rows = csv.reader(lines, strict=True)
    names = _columns(rows, file)
    while True:
        number = rows.line_num + 1
        try:
            cells = next(rows)
            if any(cells):
                yield _usage_line(number, "\n".join(cells), _parsed_cells(names, cells))
        except StopIteration:
            return
        except (csv.Error, ValueError) as error:
            yield BadLine(number, _reason(error))


def _columns(rows: Iterator[list[str]], file: str) -> list[str]:
    try:
        names = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise InvalidValueError(f"{file}: line 1: {error}") from None
    if "request_timestamp" not in names:
        raise InvalidValueError(f"{file}: has no column request_timestamp, as an export has, nor TIMESTAMP, as a trace")
    unknown = [name for name in names if name not in _NAMES]
    if unknown or len(set(names)) < len(names):
        wrong = f"unknown columns: {', '.join(unknown)}" if unknown else "a column twice"
        raise InvalidValueError(f"{file}: has {wrong}")
    return names


def _parsed_cells(names: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(names):
        raise ValueError(f"has {len(cells)} of {len(names)} columns")
    values: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    for name in OBJECTS:
        if name in values:
            values[name] = _object(name, values[name])
    return asdict(msgspec.convert(values, _Parsed, strict=False))


def _object(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _usage_line(number: int, text: str, values: dict[str, Any]) -> UsageLine:
    return UsageLine(number, text, values.pop("api_key"), values.pop("model"), values)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "is no UTF-8"
    found = _REASON.fullmatch(str(error))
    return f"{found[2]}: {found[1]}" if found else str(error)
