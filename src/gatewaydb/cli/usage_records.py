"""`gatewaydb usage`: reading what was used, importing traces, and what it cost."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from gatewaydb import KeyModelTotals, UsageRecord
from gatewaydb.cli import (
    usage_costs,
    usage_export,
    usage_import,
    usage_journal,
    usage_report,
    usage_upkeep,
    values,
)
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.lookups import api_key_names, find_api_key_id, find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, DEFAULT_PAGE, Options, Page, command, group
from gatewaydb.cli.output import note, plain, show_json, show_table, spent, unpriced, usd

app = group("usage", "Usage records: what was called, by whom, and what it cost.")
command(app, *usage_import.EXAMPLES, name="import")(usage_import.import_usage)
command(app, *usage_export.EXAMPLES, name="export")(usage_export.export_usage)
command(app, *usage_report.EXAMPLES)(usage_report.report)
command(app, *usage_costs.EXPLAIN_EXAMPLES)(usage_costs.explain)
command(app, *usage_costs.REPRICE_EXAMPLES)(usage_costs.reprice)
command(app, *usage_journal.SHIP_EXAMPLES)(usage_journal.ship)
command(app, *usage_journal.JOURNAL_EXAMPLES)(usage_journal.journal)
command(app, *usage_upkeep.VERIFY_EXAMPLES)(usage_upkeep.verify)
command(app, *usage_upkeep.PRUNE_EXAMPLES)(usage_upkeep.prune)

Since = Annotated[str | None, Parameter(name="--since", help="From then on: 2026-11-01, or a duration ago, 30d.")]
Until = Annotated[str | None, Parameter(name="--until", help="To before then.")]
ApiKey = Annotated[str | None, Parameter(name="--api-key", help="The key's id, name or hash prefix.")]


@command(
    app, "usage list --api-key production", "usage list --model gpt-4o --since 7d --limit 1000 --json", name="list"
)
async def list_usage(
    *,
    api_key: ApiKey = None,
    model: str | None = None,
    since: Since = None,
    until: Until = None,
    page: Page = DEFAULT_PAGE,
    after: str | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """List the usage records of an API key or of a model, latest first.

    Parameters
    ----------
    model
        The model's name, alias or id.
    after
        The id of the last record of the page before; costs the same on every page.
    """
    if (api_key is None) == (model is None):
        raise UsageError("give one of --api-key and --model")
    start, end = values.time_range(since, until)
    async with options.opened() as db:
        last = None if after is None else await db.usage.get_by_id(values.identifier("--after", after))
        place = (start, end, page.limit, page.offset, last)
        if api_key is not None:
            found = await db.usage.get_by_api_key(await find_api_key_id(db, api_key), *place)
        else:
            found = await db.usage.get_by_model((await find_model(db, str(model))).id, *place)
    if options.json:
        show_json(list(found))
    else:
        columns = ("time", "model", ">prompt", ">completion", ">cost", ">cached", "status", "id")
        show_table(columns, [_record_row(record) for record in found], "no usage records")
        page.note_if_full(len(found))


@command(app, "usage totals", "usage totals --since 30d --api-key production --json")
async def totals(
    *,
    api_key: ApiKey = None,
    since: Since = None,
    until: Until = None,
    limit: values.Whole = 50,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Show requests, tokens and cost of every API key with every model, dearest first. It reads the whole range.

    Parameters
    ----------
    limit
        Rows at most.
    """
    if limit < 1:
        raise UsageError("--limit: must be 1 or more")
    start, end = values.time_range(since, until)
    async with options.opened() as db:
        key_id = None if api_key is None else await find_api_key_id(db, api_key)
        found = await db.usage.get_totals_by_key_and_model(start, end)
        asked = [row for row in found if key_id is None or row.api_key_id == key_id]
        names = await api_key_names(db, (row.api_key_id for row in asked[:limit]))
    if options.json:
        show_json([{"api_key_name": names.get(row.api_key_id), **plain(row)} for row in asked[:limit]])
    else:
        columns = ("API key", "model", ">requests", ">cost", ">unpriced", ">prompt tokens", ">completion tokens")
        show_table(columns, _total_rows(asked, limit, names), "no usage in this time")
        if len(asked) > limit:
            note(f"the dearest {limit} of {len(asked)}; for more: --limit {len(asked)}")


def _record_row(record: UsageRecord) -> tuple[Any, ...]:
    model = record.model_name or record.model_id
    tokens = (record.prompt_tokens, record.completion_tokens)
    beside = (record.cached_tokens, record.status_code, record.id)
    return record.request_timestamp, model, *tokens, usd(record.cost_usd, 6), *beside


def _total_rows(asked: Sequence[KeyModelTotals], limit: int, names: dict[Any, str]) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [
        (
            names.get(row.api_key_id, row.api_key_id),
            row.model_name or row.model_id,
            row.requests,
            spent(row.cost_usd, row.requests, row.unpriced_requests),
            unpriced(row.unpriced_requests),
            row.prompt_tokens,
            row.completion_tokens,
        )
        for row in asked[:limit]
    ]
    if len(rows) > 1:
        requests, cost, without_price, *tokens = (sum(getattr(row, field) for row in asked) for field in _SUMMED)
        rows.append(("all", "", requests, spent(cost, requests, without_price), unpriced(without_price), *tokens))
    return rows


_SUMMED = ("requests", "cost_usd", "unpriced_requests", "prompt_tokens", "completion_tokens")
