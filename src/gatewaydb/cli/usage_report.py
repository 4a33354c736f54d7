"""`gatewaydb usage report`: what was used, by key, model and so on: for people, for programs, and as a page."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import Group, Parameter
from rich.text import Text

from gatewaydb import Database, UsageReport, UsageReportRow
from gatewaydb.cli import report_page, values
from gatewaydb.cli.charts import bar
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.lookups import as_id, find_api_key_id
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import note, show_table, spent, unpriced
from gatewaydb.cli.report_files import WRITERS, FileFormat
from gatewaydb.entities import ReportBy

EXAMPLES = (
    "usage report --by model",
    "usage report --by key --since 7d --chart",
    "usage report --by tag --since 2026-11-01 --until 2026-12-01 --output november.csv",
    "usage report --by provider --since 90d --output report.html",
)
_SINCE = "30d"
_TABLE_ROWS = 50
_CHART_WIDTH = 24
_SCOPE = Group("Scope", sort_key=80)
_OUTPUT = Group("Output", sort_key=85)


@Parameter(name="*")
@dataclass(frozen=True)
class Scope:
    """What a report is about."""

    since: Annotated[str, Parameter(group=_SCOPE, help="From that day on: 2026-11-01, or a duration ago, 7d.")] = _SINCE
    until: Annotated[
        str | None, Parameter(group=_SCOPE, help="To before then; a part of a day is that whole day, in UTC.")
    ] = None
    api_key: Annotated[str | None, Parameter(group=_SCOPE, help="One key only: its id, name or hash prefix.")] = None
    model: Annotated[str | None, Parameter(group=_SCOPE, help="One model only: its name as recorded, or its id.")] = (
        None
    )
    tag_type: Annotated[str, Parameter(group=_SCOPE, help="The type of the keys' metadata that --by tag goes by.")] = (
        "tag"
    )

    async def asked(self, db: Database) -> dict[str, Any]:
        """The same for `db.daily_summaries`."""
        start, end = values.time_range(self.since, self.until)
        return {
            "start": start,
            "end": end if self.until is not None else datetime.now(UTC),
            "api_key_id": None if self.api_key is None else await find_api_key_id(db, self.api_key),
            "model": None if self.model is None else as_id(self.model) or self.model,
            "tag_type": self.tag_type,
        }


@Parameter(name="*")
@dataclass(frozen=True)
class Output:
    """What becomes of a report."""

    format: Annotated[
        FileFormat | Literal["table"] | None,
        Parameter(group=_OUTPUT, help="Without it: what --output ends with, else a table."),
    ] = None
    output: Annotated[Path | None, Parameter(group=_OUTPUT, help="Write to this file.")] = None
    limit: Annotated[
        values.Whole | None, Parameter(group=_OUTPUT, help="Rows at most; without it, 50 in a table, else all.")
    ] = None
    chart: Annotated[bool, Parameter(group=_OUTPUT, show_default=False, help="With bars, in a table.")] = False

    def chosen(self, options: Options) -> str:
        """The format. Raises UsageError where the options do not go together."""
        if options.json and self.format not in (None, "json"):
            raise UsageError("give one of --json and --format")
        by_name = None if self.output is None else self.output.suffix.lstrip(".").lower()
        chosen = "json" if options.json else self.format or by_name or "table"
        if self.output is not None and chosen not in get_args(FileFormat):
            raise UsageError(f"--output: a file is one of {', '.join(get_args(FileFormat))}; give --format")
        if chosen == "parquet" and self.output is None:
            raise UsageError("--format parquet: goes to a file; give --output")
        if self.chart and chosen != "table":
            raise UsageError("--chart: goes with a table; --format html has charts of its own")
        return chosen


DEFAULT_SCOPE = Scope()
DEFAULT_OUTPUT = Output()


async def report(
    *,
    by: ReportBy = "key",
    scope: Scope = DEFAULT_SCOPE,
    output: Output = DEFAULT_OUTPUT,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Show requests, tokens, errors and cost, dearest first. It reads daily summaries, and so is quick.

    Parameters
    ----------
    by
        What has a row of its own.
    """
    chosen = output.chosen(options)
    limit = _TABLE_ROWS if output.limit is None and chosen == "table" else output.limit
    async with options.opened() as db:
        asked = await scope.asked(db)
        found = await db.daily_summaries.report(by, **asked, limit=limit)
        data = await _page_data(db, found, asked) if chosen == "html" else None
    if data is not None:
        _write(report_page.page(data, datetime.now(UTC)).encode(), output.output)
    elif chosen == "table":
        _show(found, with_bars=output.chart)
    else:
        _write(WRITERS[chosen](found), output.output)


async def _page_data(db: Database, found: UsageReport, asked: dict[str, Any]) -> report_page.ReportData:
    series = await db.daily_summaries.series(found.by, **asked, limit=report_page.SERIES_ROWS)
    days = await db.daily_summaries.report("day", **asked)
    return report_page.ReportData(found, series, days.rows)


def _write(made: bytes, file: Path | None) -> None:
    """To the file, all or nothing; or to stdout."""
    if file is None:
        sys.stdout.write(made.decode())
        return
    beside = file.with_name(f".{file.name}.part")
    try:
        beside.write_bytes(made)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _show(found: UsageReport, *, with_bars: bool) -> None:
    columns = (found.by, ">cost", ">requests", ">unpriced", ">4xx", ">5xx", ">prompt", ">completion", ">cached")
    top = max((row.cost_usd for row in found.rows), default=Decimal(0))
    chart = ("",) if with_bars else ()
    rows = [
        (_label(row, found.by), *_figures(row)[:1], *_bar(row, top, with_bars), *_figures(row)[1:])
        for row in found.rows
    ]
    if len(rows) > 1:
        sums = _figures(found.total)
        rows.append(("all", *sums[:1], *chart, *sums[1:]))
    show_table((*columns[:2], *chart, *columns[2:]), rows, f"no usage from {found.start} to before {found.end}")
    if len(found.rows) < found.row_count:
        note(f"the first {len(found.rows)} of {found.row_count}; for more: --limit {found.row_count}")
    if found.by == "tag" and found.rows:
        note("a key of several tags counts in each of them, and once in all")


def _label(row: UsageReportRow, by: str) -> str | None:
    return "untagged" if by == "tag" and row.label is None else row.label


def _bar(row: UsageReportRow, top: Decimal, with_bars: bool) -> tuple[Text, ...]:
    if not with_bars:
        return ()
    return (Text(bar(row.cost_usd / top if top else Decimal(0), _CHART_WIDTH), "cyan"),)


def _figures(row: UsageReportRow) -> tuple[Any, ...]:
    return (
        spent(row.cost_usd, row.requests, row.unpriced_requests),
        row.requests,
        unpriced(row.unpriced_requests),
        row.client_errors,
        row.server_errors,
        row.prompt_tokens,
        row.completion_tokens,
        row.cached_tokens,
    )
