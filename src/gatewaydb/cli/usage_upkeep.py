"""`gatewaydb usage verify` and `prune`: whether the summaries say what the records say, and removing old records."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter
from msgspec.structs import asdict
from rich.text import Text

from gatewaydb.cli import values
from gatewaydb.cli.errors import FAILED, UsageError
from gatewaydb.cli.lookups import api_key_names, find_api_key_id
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import exact_usd, note, plain, progress_bar, say, show_fields, show_json, show_table
from gatewaydb.cli.prompts import Yes, confirm
from gatewaydb.metering import PruneReport, UsageDrift, VerificationReport

VERIFY_EXAMPLES = (
    "usage verify",
    "usage verify --since 2026-10-01 --until 2026-11-01 --api-key production --json",
    "usage verify --since 90d --repair",
)
PRUNE_EXAMPLES = (
    "usage prune --older-than 400d --dry-run",
    "usage prune --older-than 400d --yes",
    "usage prune --older-than 400d --detach --yes --json",
)
_SHOWN_ROWS = 50


async def verify(
    *,
    since: Annotated[
        str | None, Parameter(help="From the month of then on: 2026-10-01, or a duration ago, 90d.")
    ] = None,
    until: Annotated[str | None, Parameter(help="To before then; the month of then is verified as a whole.")] = None,
    api_key: Annotated[str | None, Parameter(help="Only the key of this id, name or hash prefix.")] = None,
    repair: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options = DEFAULT_OPTIONS,
) -> int:
    """Prove that usage records, daily and monthly summaries say the same, by whole months, UTC. Nobody waits for it.

    The exit code is 1 where something differs that was not repaired.

    Parameters
    ----------
    repair
        Sum what differs anew from the records. What was deleted by hand is then in no sum any more.
    """
    start, end = values.time_range(since, until)
    async with options.opened() as db:
        key_id = None if api_key is None else await find_api_key_id(db, api_key)
        with progress_bar("Verifying usage") as progress:
            report = await db.verify_usage(start, end, api_key_id=key_id, repair=repair, progress=progress)
        names = await api_key_names(db, (drift.api_key_id for drift in report.drifts))
    if options.json:
        show_json(_as_json(report, names))
    else:
        _show(report, names, repair)
    return 0 if report.is_sound else FAILED


async def prune(
    *,
    older_than: Annotated[str, Parameter(help="Months that ended that long ago: 400d. Or a time, 2026-01-01.")],
    detach: Annotated[bool, Parameter(show_default=False)] = False,
    dry_run: Annotated[bool, Parameter(show_default=False)] = False,
    yes: Yes = False,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Remove the usage records of old months, UTC; their daily and monthly summaries stay. Asks first.

    Records of that time are taken no more. Interrupted, it can be run again.

    Parameters
    ----------
    detach
        Keep each month as a table of its own. PostgreSQL only.
    dry_run
        Remove nothing: show what would go.
    """
    before = values.past("--older-than", older_than, datetime.now(UTC))
    if before > datetime.now(UTC):
        raise UsageError("--older-than: must not be in the future")
    async with options.opened() as db:
        report = await db.prune_usage(before=before, detach=detach, dry_run=True)
        if report.months and not dry_run:
            first, last = report.months[0].first_day, report.months[-1].first_day
            confirm(f"Remove all usage records from {first:%Y-%m} to {last:%Y-%m}?", yes)
        if not dry_run:
            with progress_bar("Pruning usage") as progress:
                report = await db.prune_usage(before=before, detach=detach, progress=progress)
    _show_pruned(report, dry_run, options)


def _as_json(report: VerificationReport, names: dict[UUID, str]) -> dict[str, Any]:
    drifts = [
        {"api_key_name": names.get(drift.api_key_id), **plain(drift), "difference": plain(drift.difference)}
        for drift in report.drifts
    ]
    return {**asdict(report), "drifts": drifts, "sound": report.is_sound}


def _show(report: VerificationReport, names: dict[UUID, str], repair: bool) -> None:
    show_fields(
        {
            "months": "none"
            if report.first_month is None
            else f"{report.first_month:%Y-%m} to {report.last_month:%Y-%m}",
            "API keys": report.keys,
            "summaries that differ": report.drifts_found,
            "months of keys that differ": report.drifted,
            **({"repaired": report.repaired} if repair else {}),
        }
    )
    if report.drifts:
        columns = ("API key", "when", "route", ">requests", ">tokens", ">cost", ">stored", ">expected", "what")
        show_table(columns, [_row(drift, names) for drift in report.drifts[:_SHOWN_ROWS]], "")
        if report.drifts_found > _SHOWN_ROWS:
            note(f"the first {_SHOWN_ROWS} of {report.drifts_found}; --json has up to 1,000")
    if any(drift.is_beyond for drift in report.drifts) and not repair:
        note(
            "Some summaries count more than there is: were records deleted by hand? --repair takes it out of the sums."
        )
    if report.is_sound:
        said = "Everything differs no more." if report.drifted else "Records, days and months agree."
        say(said, "green")
    else:
        say("Not all agree; --repair sums anew what does not.", "bold yellow")


def _row(drift: UsageDrift, names: dict[UUID, str]) -> tuple[Any, ...]:
    """Differences first: what is stored beyond what is expected."""
    difference = drift.difference
    is_daily = drift.level == "daily"
    return (
        names.get(drift.api_key_id, str(drift.api_key_id)),
        f"{drift.day:%Y-%m-%d}" if is_daily else f"{drift.day:%Y-%m}",
        _route(drift) if is_daily else "(sum of its days)",
        Text(f"{difference.requests:+,}"),
        Text(f"{difference.total_tokens:+,}"),
        Text(("-" if difference.cost_usd < 0 else "+") + exact_usd(abs(difference.cost_usd))),
        exact_usd(drift.stored.cost_usd),
        exact_usd(drift.expected.cost_usd),
        _what(drift),
    )


def _route(drift: UsageDrift) -> str:
    status = f"{drift.status_class}xx" if drift.status_class else None
    return " ".join(part for part in (drift.model_name, drift.endpoint, status) if part) or "-"


def _what(drift: UsageDrift) -> str:
    fields = [name.replace("_", " ") for name, value in asdict(drift.difference).items() if value]
    if drift.stored_last_request_at != drift.expected_last_request_at:
        fields.append("last request")
    return ", ".join(fields)


def _show_pruned(report: PruneReport, dry_run: bool, options: Options) -> None:
    if options.json:
        show_json({**asdict(report), "dry_run": dry_run})
        return
    rows = [(f"{month.first_day:%Y-%m}", month.requests, month.detached_as) for month in report.months]
    show_table(("month", ">requests", "kept as"), rows, "no usage records are that old")
    if dry_run:
        note("A dry run: nothing was removed.")
    else:
        say(f"Records from before {report.before:%Y-%m-%d} are gone; their summaries stay.")
