"""`gatewaydb usage export`: usage records as CSV, JSON lines or Parquet, in constant memory."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from cyclopts import Parameter

from gatewaydb import Database, UsageRecord
from gatewaydb.cli import values
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.lookups import as_id, find_api_key_id, find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import console, note, progress_bar, show_json
from gatewaydb.cli.usage_encoders import ENCODERS, Encoder
from gatewaydb.cli.usage_files import opened_output

EXAMPLES = (
    "usage export --since 30d --output usage.csv",
    "usage export --since 2026-11-01 --until 2026-12-01 --output november.jsonl.gz",
    "usage export --api-key production --format jsonl | jq .cost_usd",
)
Format = Literal["csv", "jsonl", "parquet"]


async def export_usage(
    *,
    since: Annotated[str | None, Parameter(help="From then on: 2026-11-01, or a duration ago, 30d.")] = None,
    until: Annotated[str | None, Parameter(help="To before then.")] = None,
    api_key: Annotated[str | None, Parameter(name="--api-key", help="The key's id, name or hash prefix.")] = None,
    model: str | None = None,
    format: Format | None = None,  # noqa: A002 - the option's name
    output: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-",
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Write usage records to a file or to stdout, as they are when it begins, in no order.

    It takes the same memory however many there are. A file appears when it is whole: until then it is FILE.part, and
    what breaks off leaves nothing. `usage import` reads CSV and JSON lines again, without counting anything twice.

    Parameters
    ----------
    model
        The model's name, alias or id.
    format
        csv, jsonl or parquet; without it, as the file's name ends, else csv.
    output
        The file; - is stdout. A name that ends in .gz is compressed.
    """
    start, end = values.time_range(since, until)
    chosen = _format(format, output)
    if options.json and output == "-":
        raise UsageError("--json: the records themselves go to stdout; name a file with --output")
    async with options.opened() as db:
        key_id = None if api_key is None else await find_api_key_id(db, api_key)
        model_id = None if model is None else as_id(model) or (await find_model(db, model)).id
        total = await _expected(db, start, end, key_id, model_id)
        rows = 0
        with opened_output(output) as target, progress_bar("Exporting usage") as progress:
            encoder: Encoder = ENCODERS[chosen](target)
            async with aclosing(db.usage.stream(start, end, key_id, model_id)) as stream:
                async for records in _batches(stream, encoder.rows):
                    encoder.write(records)
                    rows += len(records)
                    progress(rows, max(rows, total))
            encoder.end()
    if options.json:
        show_json({"rows": rows, "format": chosen, "output": output})
    else:
        note(f"{rows:,} usage records" + ("" if output == "-" else f" in {output}"))


def _format(chosen: Format | None, output: str) -> str:
    endings = Path(output).suffixes[-2:]
    named = next((ending[1:] for ending in endings if ending[1:] in ENCODERS), None)
    found = chosen or named or "csv"
    if found == "parquet" and (output == "-" or endings[-1:] == [".gz"]):
        raise UsageError("--format: parquet goes to a file, --output FILE, and is compressed by itself")
    return found


async def _expected(db: Database, start: datetime, end: datetime, key_id: UUID | None, model_id: UUID | None) -> int:
    """About how many records there will be, from the daily summaries; 0 where nobody looks."""
    if not console(stderr=True).is_terminal:
        return 0
    return sum(
        row.requests
        for row in await db.usage.get_totals_by_key_and_model(start, end)
        if key_id in (None, row.api_key_id) and model_id in (None, row.model_id)
    )


async def _batches(stream: AsyncIterator[UsageRecord], rows: int) -> AsyncIterator[list[UsageRecord]]:
    batch: list[UsageRecord] = []
    async for record in stream:
        batch.append(record)
        if len(batch) == rows:
            yield batch
            batch = []
    if batch:
        yield batch
