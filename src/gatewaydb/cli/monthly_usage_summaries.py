"""`gatewaydb summaries`: what an API key used, month by month."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from gatewaydb import MonthlyUsageSummary
from gatewaydb.cli import values
from gatewaydb.cli.lookups import find_api_key, find_api_key_id
from gatewaydb.cli.options import DEFAULT_OPTIONS, DEFAULT_PAGE, Options, Page, command, group
from gatewaydb.cli.output import show_json, show_table, spent, unpriced

app = group("summaries", "Monthly usage summaries: what an API key used in each month, UTC.")

Month = Annotated[str | None, Parameter(name="--month", help="2026-11, UTC.")]


@command(app, "summaries show production", "summaries show production --month 2026-11 --json")
async def show(
    key: str, /, *, month: Month = None, page: Page = DEFAULT_PAGE, options: Options = DEFAULT_OPTIONS
) -> None:
    """Show the months of an API key, latest first, or one of them.

    Parameters
    ----------
    key
        Its id, name or hash prefix.
    """
    one = None if month is None else values.month(month)
    async with options.opened() as db:
        key_id = await find_api_key_id(db, key)
        if one is None:
            shown = await db.monthly_summaries.get_by_api_key(key_id, page.limit, page.offset)
        else:
            shown = [await db.monthly_summaries.get_by_api_key_and_month(key_id, *one)]
    _show(shown, options)
    page.note_if_full(len(shown))


@command(app, "summaries refresh production", "summaries refresh production --month 2026-10")
async def refresh(key: str, /, *, month: Month = None, options: Options = DEFAULT_OPTIONS) -> None:
    """Sum a month anew from its usage records; without --month the current one.

    Parameters
    ----------
    key
        Its id, name or hash prefix.
    """
    year, number = values.month(month)
    async with options.opened() as db:
        found = await find_api_key(db, key)
        _show([await db.monthly_summaries.refresh_summary(found.id, year, number)], options)


def _show(summaries: Sequence[MonthlyUsageSummary], options: Options) -> None:
    if options.json:
        show_json(list(summaries))
    else:
        columns = ("month", ">requests", ">cost", ">unpriced", ">prompt tokens", ">completion tokens", "last request")
        show_table(columns, [_row(summary) for summary in summaries], "this API key has no usage")


def _row(summary: MonthlyUsageSummary) -> tuple[Any, ...]:
    return (
        f"{summary.year}-{summary.month:02}",
        summary.total_requests,
        spent(summary.total_cost_usd, summary.total_requests, summary.unpriced_requests),
        unpriced(summary.unpriced_requests),
        summary.total_prompt_tokens,
        summary.total_completion_tokens,
        summary.last_request_at,
    )
