"""Usage records as the bytes of a file: CSV, JSON lines, Parquet."""

import csv
import io
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, BinaryIO, Protocol

from gatewaydb import UsageRecord
from gatewaydb.cli.errors import CommandError
from gatewaydb.cli.usage_lines import COLUMNS, OBJECTS, csv_cells, json_line, object_text

_TEXT_ROWS = 1_000
_PARQUET_ROWS = 10_000


class Encoder(Protocol):
    """Writes records in one format; `rows` is how many it takes at a time."""

    rows: int

    def write(self, records: Sequence[UsageRecord]) -> None:
        """The next records."""

    def end(self) -> None:
        """Nothing follows."""


class CSVEncoder:
    """A line with the names of the columns, and a line for each record."""

    rows = _TEXT_ROWS

    def __init__(self, target: BinaryIO) -> None:
        self._text = io.TextIOWrapper(target, encoding="utf-8", newline="")
        self._rows = csv.writer(self._text)
        self._rows.writerow(COLUMNS)

    def write(self, records: Sequence[UsageRecord]) -> None:
        """The next records."""
        self._rows.writerows(map(csv_cells, records))

    def end(self) -> None:
        """Nothing follows."""
        self._text.detach()


class JSONEncoder:
    """A line of JSON for each record."""

    rows = _TEXT_ROWS

    def __init__(self, target: BinaryIO) -> None:
        self._target = target

    def write(self, records: Sequence[UsageRecord]) -> None:
        """The next records."""
        self._target.write(b"".join(map(json_line, records)))

    def end(self) -> None:
        """Nothing follows."""


class ParquetEncoder:
    """A row group for every ten thousand records. Raises CommandError where pyarrow is not installed."""

    rows = _PARQUET_ROWS

    def __init__(self, target: BinaryIO) -> None:
        try:
            pyarrow: Any = import_module("pyarrow")
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError:
            raise CommandError("Parquet needs pyarrow: pip install 'gatewaydb[parquet]'") from None
        self._make_table = pyarrow.Table.from_pydict
        self._schema = _parquet_schema(pyarrow)
        self._writer = parquet.ParquetWriter(target, self._schema, compression="zstd")

    def write(self, records: Sequence[UsageRecord]) -> None:
        """The next records."""
        columns = {name: [_PARQUET.get(name, _same)(getattr(each, name)) for each in records] for name in COLUMNS}
        self._writer.write_table(self._make_table(columns, self._schema))

    def end(self) -> None:
        """Nothing follows."""
        self._writer.close()


def _same(value: Any) -> Any:
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


_IDS = ("id", "api_key_id", "model_id", "provider_id")
_TEXTS = ("request_id", "model_name", "endpoint", "error_message")
_PARQUET: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_IDS, _text_or_none),
    **dict.fromkeys(OBJECTS, object_text),
}


def _parquet_schema(pyarrow: Any) -> Any:
    """Exact money, times in microseconds, ids and JSON as text."""
    kinds = dict.fromkeys((*_IDS, *_TEXTS, *OBJECTS), pyarrow.string())
    kinds |= {"cost_usd": pyarrow.decimal128(20, 12), "request_timestamp": pyarrow.timestamp("us", tz="UTC")}
    return pyarrow.schema([(name, kinds.get(name, pyarrow.int64())) for name in COLUMNS])


ENCODERS: dict[str, type[CSVEncoder | JSONEncoder | ParquetEncoder]] = {
    "csv": CSVEncoder,
    "jsonl": JSONEncoder,
    "parquet": ParquetEncoder,
}
