"""`gatewaydb usage import`: a trace of requests as usage records, each row once however often it is imported."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter

from gatewaydb import APIKey, BillableUsage, Database, InvalidValueError, Model, UsageRecord
from gatewaydb.cli.errors import FAILED, CommandError
from gatewaydb.cli.lookups import find_api_key, find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import Progress, note, progress_bar, show_fields, show_json, spent
from gatewaydb.cli.traces import BadLine, TraceRow, read_trace, record_id

EXAMPLES = (
    "usage import AzureLLMInferenceTrace_code.csv --api-key production --model gpt-4o",
    "usage import - --api-key production --model fast --json < trace.csv",
)
_BATCH_ROWS = 1_000
BAD_LINES_MAX = 100
_BAD_LINES_SHOWN = 10


class TraceImport:
    """One import: reads rows, writes them in batches, and counts."""

    def __init__(self, db: Database, key: APIKey, model: Model) -> None:
        self._db = db
        self._key = key
        self._model = model
        self._batch: list[UsageRecord] = []
        self.rows = 0
        self.inserted = 0
        self.unpriced = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost_usd = Decimal(0)
        self.bad: list[BadLine] = []

    async def run(self, rows: Iterator[TraceRow | BadLine]) -> None:
        """Writes every good row. Stops before the row after the BAD_LINES_MAXth bad line."""
        for row in rows:
            try:
                self._add(row)
            except InvalidValueError as error:
                self.bad.append(BadLine(row.line, str(error)))
            if len(self._batch) == _BATCH_ROWS:
                await self._flush()
            if self.is_stopped:
                break
        await self._flush()

    @property
    def is_stopped(self) -> bool:
        """Whether there were too many bad lines to go on: this may be another kind of file."""
        return len(self.bad) >= BAD_LINES_MAX

    def _add(self, row: TraceRow | BadLine) -> None:
        if isinstance(row, BadLine):
            self.bad.append(row)
            return
        record = self._record(row).checked()
        self._batch.append(record)
        self.rows += 1
        self.prompt_tokens += record.prompt_tokens
        self.completion_tokens += record.completion_tokens
        if record.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += record.cost_usd

    def _record(self, row: TraceRow) -> UsageRecord:
        return self._model.usage_record(
            self._key.id,
            BillableUsage(row.prompt_tokens, row.completion_tokens),
            request_timestamp=row.at,
            id=record_id(self._key.id, row, self._model.id),
        )

    async def _flush(self) -> None:
        if self._batch:
            self.inserted += await self._db.usage.create_many(self._batch)
            self._batch = []


async def import_usage(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    api_key: Annotated[str, Parameter(name="--api-key")],
    model: str,
    options: Options = DEFAULT_OPTIONS,
) -> int:
    """Record the requests of a trace, a CSV file with the columns TIMESTAMP,ContextTokens,GeneratedTokens.

    Times without a zone are UTC. Each row is priced by the model's price. Importing a file again adds nothing: a row
    counts once for a key and a model. Bad lines are left out and named, and make the exit code 1; the import stops at
    the hundredth.

    Parameters
    ----------
    file
        The trace; - reads it from stdin.
    api_key
        Who called: the key's id, name or hash prefix.
    model
        What was called: the model's name, alias or id.
    """
    with opened_trace(file) as (lines, size):
        async with options.opened() as db:
            work = TraceImport(db, await find_api_key(db, api_key), await find_model(db, model))
            with progress_bar("Importing usage") as progress:
                await work.run(read_trace(_watched(lines, size, progress), file))
    _show(work, options)
    return FAILED if work.bad else 0


@contextmanager
def opened_trace(file: str) -> Iterator[tuple[IO[str], int]]:
    """The lines of a file (`-`: stdin) and its size in bytes (0: not known). What is no UTF-8 shows as bad lines."""
    if file == "-":
        yield sys.stdin, 0
        return
    path = Path(file)
    if path.is_dir():
        raise CommandError(f"{file}: is a directory")
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        yield lines, path.stat().st_size


def _watched(lines: IO[str], size: int, progress: Progress) -> Iterator[str]:
    done = 0
    for number, line in enumerate(lines):
        done += len(line)
        if number % _BATCH_ROWS == 0:
            progress(done, size)
        yield line


def _show(work: TraceImport, options: Options) -> None:
    report: dict[str, Any] = {
        "rows": work.rows,
        "inserted": work.inserted,
        "already_there": work.rows - work.inserted,
        "bad": len(work.bad),
        "unpriced": work.unpriced,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens": work.completion_tokens,
        "cost_usd": work.cost_usd,
    }
    if options.json:
        bad = [line._asdict() for line in work.bad]
        show_json({**report, "is_complete": not work.is_stopped, "bad_lines": bad})
        return
    show_fields(
        {name.replace("_", " "): value for name, value in report.items()}
        | {"cost usd": spent(work.cost_usd, work.rows, work.unpriced)}
    )
    for line in work.bad[:_BAD_LINES_SHOWN]:
        note(f"line {line.line}: {line.reason}")
    if work.is_stopped:
        note(f"stopped after {BAD_LINES_MAX} bad lines: is this another kind of file?")
