"""A report as a file for other programs: CSV, JSON, JSON lines, Parquet."""

import csv
import io
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from gatewaydb import UsageReport, UsageReportRow
from gatewaydb.cli.errors import CommandError
from gatewaydb.cli.output import plain

FileFormat = Literal["csv", "json", "jsonl", "parquet", "html"]

_COLUMNS = UsageReportRow.__struct_fields__
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(report: UsageReport) -> bytes:
    """As RFC 4180 has it, money exact.

    A spreadsheet takes a cell that begins with = + - @ for a formula: a label that does gets an apostrophe in front.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in report.rows:
        fields: dict[str, Any] = plain(row)
        if (row.label or "").startswith(_FORMULA):
            fields["label"] = f"'{row.label}"
        writer.writerow(["" if fields[name] is None else fields[name] for name in _COLUMNS])
    return text.getvalue().encode()


def as_json(report: UsageReport) -> bytes:
    """One object."""
    return msgspec.json.format(msgspec.json.encode(plain(report)), indent=2) + b"\n"


def as_jsonl(report: UsageReport) -> bytes:
    """A line for each row."""
    return b"".join(msgspec.json.encode(plain(row)) + b"\n" for row in report.rows)


def as_parquet(report: UsageReport) -> bytes:
    """Money as decimal128(38, 12), times in UTC. Raises CommandError without pyarrow."""
    try:
        # It takes half a second to load, and is an extra.
        import pyarrow  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise CommandError("Parquet needs pyarrow; run: pip install 'gatewaydb[parquet]'") from None
    types = {
        "label": pyarrow.string(),
        "id": pyarrow.string(),
        "day": pyarrow.date32(),
        "cost_usd": pyarrow.decimal128(38, 12),
        "last_request_at": pyarrow.timestamp("us", tz="UTC"),
    }
    schema = pyarrow.schema([(name, types.get(name, pyarrow.int64())) for name in _COLUMNS])
    columns = {name: [getattr(row, name) for row in report.rows] for name in _COLUMNS}
    columns["id"] = [None if each is None else str(each) for each in columns["id"]]
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=schema), sink)
    return sink.getvalue()


WRITERS: dict[str, Callable[[UsageReport], bytes]] = {
    "csv": as_csv,
    "json": as_json,
    "jsonl": as_jsonl,
    "parquet": as_parquet,
}
