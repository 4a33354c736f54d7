"""`gatewaydb usage import`: usage from a file, an export or a trace; each line counts once however often it is read."""

import csv
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from cyclopts import Parameter

from gatewaydb import APIKey, BillableUsage, Database, InvalidValueError, Model, UsageRecord
from gatewaydb.cli.errors import FAILED, CommandError, UsageError
from gatewaydb.cli.lookups import find_api_key, find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import Progress, note, progress_bar, show_fields, show_json, spent
from gatewaydb.cli.traces import BadLine, TraceRow, record_id
from gatewaydb.cli.usage_files import Lines, opened_lines
from gatewaydb.cli.usage_lines import UsageLine, read_usage
from gatewaydb.cli.values import Whole
from gatewaydb.errors import NotFoundError

EXAMPLES = (
    "usage import november.jsonl.gz",
    "usage import other-gateway.csv --api-key production --max-bad 10000",
    "usage import AzureLLMInferenceTrace_code.csv --api-key production --model gpt-4o",
    "usage import - --api-key production --model fast --json < trace.csv",
)
BAD_LINES_MAX = 100
_BATCH_ROWS = 5_000
_BATCH_MAX_CHARS = 32 * 2**20
_BAD_LINES_SHOWN = 10
_BAD_LINES_TOLD = 100

T = TypeVar("T")


class Named:
    """The API keys and models that lines name, each looked up once, and those for lines that name none."""

    def __init__(self, db: Database, key: APIKey | None, model: Model | None) -> None:
        self._db = db
        self._key = key
        self._model = model
        self._found: dict[tuple[object, str], APIKey | Model | Exception] = {}

    async def record(self, row: TraceRow | UsageLine) -> UsageRecord:
        """The checked record of a line. Raises InvalidValueError, NotFoundError, CommandError."""
        if isinstance(row, TraceRow):
            return self._traced(row).checked()
        key_id = row.fields["api_key_id"]
        if row.api_key is not None:
            key_id = (await self._find(find_api_key, row.api_key)).id
        elif key_id is None and self._key is not None:
            key_id = self._key.id
        if key_id is None:
            raise InvalidValueError("api_key_id: must be given, here, as api_key, or by --api-key")
        model = None
        if row.model is not None:
            model = await self._find(find_model, row.model)
        elif row.fields["model_id"] is None and row.fields["model_name"] is None:
            model = self._model
        if model is None:
            return row.record(key_id)
        return row.record(key_id, model_id=model.id, model_name=model.name, provider_id=model.provider_id)

    def _traced(self, row: TraceRow) -> UsageRecord:
        if self._key is None or self._model is None:
            raise UsageError("a trace names neither keys nor models: give --api-key and --model")
        usage = BillableUsage(row.prompt_tokens, row.completion_tokens)
        id_ = record_id(self._key.id, row, self._model.id)
        return self._model.usage_record(self._key.id, usage, request_timestamp=row.at, id=id_)

    async def _find(self, find: Callable[[Database, str], Awaitable[T]], name: str) -> T:
        place = (find, name)
        if place not in self._found:
            try:
                self._found[place] = await find(self._db, name)  # type: ignore[assignment]
            except (NotFoundError, CommandError) as error:
                self._found[place] = error
        found = self._found[place]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]


class Rejects:
    """The lines that were left out: counted, the first ones kept, and all of them in a CSV file, made for the first."""

    def __init__(self, file: str | None) -> None:
        self.file = file
        self.count = 0
        self.first: list[BadLine] = []
        self._opened = ExitStack()

    def add(self, bad: BadLine, text: str) -> None:
        """One line, with its text as it stood there."""
        self.count += 1
        if len(self.first) < _BAD_LINES_TOLD:
            self.first.append(bad)
        if self.file is None:
            return
        if self.count == 1:
            made = Path(self.file).open("w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
            self._rows = csv.writer(self._opened.enter_context(made))
            self._rows.writerow(("line", "reason", "text"))
        self._rows.writerow((*bad, text.strip("\r\n")))

    def close(self) -> None:
        """All of it is in the file."""
        self._opened.close()


class Taken(NamedTuple):
    """A record on its way, with the line that it comes from."""

    record: UsageRecord
    line: int
    text: str


class UsageImport:
    """One import: reads rows, writes them in batches, and counts."""

    def __init__(self, db: Database, named: Named, rejects: Rejects, bad_max: int = BAD_LINES_MAX) -> None:
        self._db = db
        self._named = named
        self._bad_max = bad_max
        self._batch: list[Taken] = []
        self._chars = 0
        self.rejects = rejects
        self.rows = 0
        self.inserted = 0
        self.unpriced = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cost_usd = Decimal(0)

    async def run(self, lines: Lines, rows: Iterator[TraceRow | UsageLine | BadLine], progress: Progress) -> None:
        """Writes every good row. Stops before the row after the last bad line that is allowed."""
        lines.take()
        for row in rows:
            await self._add(row, lines.take())
            if len(self._batch) == _BATCH_ROWS or self._chars > _BATCH_MAX_CHARS:
                await self._flush()
                progress(lines.position(), lines.size)
            if self.is_stopped:
                break
        await self._flush()

    @property
    def is_stopped(self) -> bool:
        """Whether there were too many bad lines to go on: this may be another kind of file."""
        return self.rejects.count >= self._bad_max

    async def _add(self, row: TraceRow | UsageLine | BadLine, text: str) -> None:
        if isinstance(row, BadLine):
            self.rejects.add(row, text)
            return
        try:
            record = await self._named.record(row)
        except UsageError:
            raise
        except (InvalidValueError, NotFoundError, CommandError) as error:
            self.rejects.add(BadLine(row.line, str(error)), text)
        else:
            self._batch.append(Taken(record, row.line, text))
            self._chars += len(text)

    async def _flush(self) -> None:
        batch, self._batch, self._chars = self._batch, [], 0
        await self._write(batch)

    async def _write(self, batch: list[Taken]) -> None:
        """All that the database takes; what it refuses (usage of a time that was pruned) is found in halves."""
        if not batch:
            return
        try:
            self.inserted += await self._db.usage.create_many([each.record for each in batch])
        except InvalidValueError as error:
            if len(batch) == 1:
                self.rejects.add(BadLine(batch[0].line, str(error)), batch[0].text)
                return
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                if not self.is_stopped:
                    await self._write(half)
        else:
            self._count(batch)

    def _count(self, batch: list[Taken]) -> None:
        self.rows += len(batch)
        for record, _, _ in batch:
            self.prompt_tokens += record.prompt_tokens
            self.completion_tokens += record.completion_tokens
            if record.cost_usd is None:
                self.unpriced += 1
            else:
                self.cost_usd += record.cost_usd


async def import_usage(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    api_key: Annotated[str | None, Parameter(name="--api-key")] = None,
    model: str | None = None,
    rejected: str | None = None,
    max_bad: Annotated[Whole, Parameter(name="--max-bad")] = BAD_LINES_MAX,
    options: Options = DEFAULT_OPTIONS,
) -> int:
    """Record usage from CSV or JSON lines, as `usage export` writes them, or from a trace; also compressed by gzip.

    A line counts once, however often it is imported: one that broke off is started again and goes on from there. Bad
    lines are left out, written to FILE.rejected with their numbers and reasons, and make the exit code 1.

    A trace is CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens, whose rows are priced by the model's price;
    any other usage keeps the cost that it has. Times without a zone are UTC.

    Parameters
    ----------
    file
        The file; - reads stdin.
    api_key
        Who called, where a line does not say: the key's id, name or hash prefix.
    model
        What was called, where a line does not say: the model's name, alias or id.
    rejected
        Where bad lines go; without it, to FILE.rejected.
    max_bad
        How many bad lines end the import: it may be another kind of file.
    """
    if max_bad < 1:
        raise UsageError("--max-bad: must be 1 or more")
    rejects = Rejects(rejected or (None if file == "-" else f"{file}.rejected"))
    with opened_lines(file) as lines:
        async with options.opened() as db:
            key = None if api_key is None else await find_api_key(db, api_key)
            named = Named(db, key, None if model is None else await find_model(db, model))
            work = UsageImport(db, named, rejects, max_bad)
            try:
                with progress_bar("Importing usage") as progress:
                    await work.run(lines, read_usage(lines, file), progress)
            finally:
                rejects.close()
    _show(work, options)
    return FAILED if rejects.count else 0


def _show(work: UsageImport, options: Options) -> None:
    rejects = work.rejects
    report: dict[str, Any] = {
        "rows": work.rows,
        "inserted": work.inserted,
        "already_there": work.rows - work.inserted,
        "bad": rejects.count,
        "unpriced": work.unpriced,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens": work.completion_tokens,
        "cost_usd": work.cost_usd,
    }
    rejected = rejects.file if rejects.count else None
    if options.json:
        bad = [line._asdict() for line in rejects.first]
        show_json({**report, "is_complete": not work.is_stopped, "rejected": rejected, "bad_lines": bad})
        return
    show_fields(
        {name.replace("_", " "): value for name, value in report.items()}
        | {"cost usd": spent(work.cost_usd, work.rows, work.unpriced)}
    )
    for line in rejects.first[:_BAD_LINES_SHOWN]:
        note(f"line {line.line}: {line.reason}")
    if rejected:
        note(f"the bad lines are in {rejected}")
    if work.is_stopped:
        note(f"stopped after {rejects.count} bad lines: is this another kind of file?")
