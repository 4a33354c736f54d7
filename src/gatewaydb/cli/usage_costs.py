"""`gatewaydb usage explain` and `reprice`: how stored costs came about, and pricing them later or anew."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from msgspec.structs import asdict

from gatewaydb import Cost, Database, InvalidValueError, Model, ModelNotFoundError, UsageRecord
from gatewaydb.cli import values
from gatewaydb.cli.costs import cost_json, show_cost
from gatewaydb.cli.errors import FAILED
from gatewaydb.cli.lookups import find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import exact_usd, note, progress_bar, say, show_fields, show_json, usd, visible
from gatewaydb.cli.prompts import Yes, confirm
from gatewaydb.entities import checks
from gatewaydb.metering import RepricingReport
from gatewaydb.metering import reprice as reprice_records

EXPLAIN_EXAMPLES = (
    "usage explain 0193e3a1-7b1c-7c2e-9a51-0242ac120002",
    "usage explain 0193e3a1-7b1c-7c2e-9a51-0242ac120002 --json",
)
REPRICE_EXAMPLES = (
    "usage reprice --since 2026-11-01 --dry-run",
    "usage reprice --since 30d --model gpt-4o",
    "usage reprice --since 2026-10-01 --until 2026-11-01 --all --yes --json",
)


@dataclass(frozen=True)
class Explanation:
    """How the cost of a record came about. `agrees` is None where that cannot be told, and `says` why."""

    record: UsageRecord
    model: Model | None
    cost: Cost | None
    agrees: bool | None
    says: str


async def explain(record: str, /, *, options: Options = DEFAULT_OPTIONS) -> int:
    """Show how the cost of a usage record came about, by the version of the prices that it names.

    The exit code is 1 where that is not the cost that is stored, or cannot be told.

    Parameters
    ----------
    record
        Its id; gatewaydb usage list shows it.
    """
    record_id = values.identifier("RECORD", record)
    async with options.opened() as db:
        stored = await db.usage.get_by_id(record_id)
        found = _explained(stored, await _model_of(stored, db))
    if options.json:
        show_json(_as_json(found))
    else:
        _show(found)
    return 0 if found.agrees else FAILED


async def reprice(
    *,
    since: Annotated[str, Parameter(help="From then on: 2026-11-01, or a duration ago, 30d.")],
    until: Annotated[str | None, Parameter(help="To before then.")] = None,
    model: str | None = None,
    all_records: Annotated[bool, Parameter(name="--all", show_default=False)] = False,
    dry_run: Annotated[bool, Parameter(show_default=False)] = False,
    yes: Yes = False,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Price unpriced usage, each record by the prices of its time; the monthly summaries move with it.

    It works in small transactions: stopped halfway, it can be run again. What still has no price stays unpriced.

    Parameters
    ----------
    model
        Only what this model served: its name, alias or id.
    all_records
        Also price anew what has a cost already; asks first.
    dry_run
        Write nothing: show what would change.
    """
    start, end = values.time_range(since, until)
    if all_records and not dry_run:
        confirm(f"Price all usage since {start:%Y-%m-%d %H:%M}Z anew, also what has a cost already?", yes)
    async with options.opened() as db:
        only = None if model is None else await find_model(db, model)
        with progress_bar("Pricing usage") as progress:
            report = await reprice_records(
                db.usage,
                db.models,
                start,
                end,
                model=only,
                unpriced_only=not all_records,
                dry_run=dry_run,
                progress=progress,
            )
    _show_report(report, dry_run, options)


async def _model_of(record: UsageRecord, db: Database) -> Model | None:
    try:
        if record.model_id is not None:
            return await db.models.get_by_id(record.model_id)
        return None if record.model_name is None else await db.models.get_by_name(record.model_name)
    except ModelNotFoundError:
        return None


def _explained(record: UsageRecord, model: Model | None) -> Explanation:
    if model is None:
        named = record.model_name or record.model_id
        gone = f"the model {named} is gone, and its prices with it" if named else "the record names no model"
        return Explanation(record, None, None, None, f"{gone}: how the cost came about cannot be told")
    try:
        cost = model.explain(record)
    except InvalidValueError as error:
        return Explanation(record, model, None, None, f"the cost of this record cannot be calculated: {error}")
    expected = checks.optional_money("cost_usd", cost.cost_usd)
    return Explanation(record, model, cost, expected == record.cost_usd, _verdict(record, cost))


def _verdict(record: UsageRecord, cost: Cost) -> str:
    stored, expected = record.cost_usd, checks.optional_money("cost_usd", cost.cost_usd)
    if stored is None and expected is None:
        return "the record is unpriced, as its model has no price for what it used"
    if stored is None:
        return "the record is unpriced, and has a price by now; store it: gatewaydb usage reprice"
    if expected is None:
        return f"stored is {exact_usd(stored)}, although these prices leave something unpriced"
    if stored != expected:
        return f"stored is {exact_usd(stored)}, which differs by {exact_usd(abs(stored - expected))}"
    return "this is the cost that is stored"


def _show(found: Explanation) -> None:
    record = found.record
    usage = record.billable_usage if found.cost else None
    counts = {} if usage is None else {name: count for name, count in asdict(usage).items() if count}
    version = record.price_version or "none named: as the prices of its time are known today"
    show_fields(
        {"record": record.id, "time": record.request_timestamp, "model": record.model_name or record.model_id}
        | {"stored cost": usd(None) if record.cost_usd is None else exact_usd(record.cost_usd)}
        | {"price version": version}
        | {name.replace("_", " "): value for name, value in (counts | dict(record.pricing_context)).items()}
    )
    if found.model is not None and found.cost is not None:
        show_cost(found.model.name, found.cost, explain=True)
    say(visible(f"{found.says[0].upper()}{found.says[1:]}."), "green" if found.agrees else "bold yellow")


def _as_json(found: Explanation) -> dict[str, Any]:
    return {
        "record": found.record,
        "model": found.model and found.model.name,
        "cost": found.cost and cost_json(found.cost),
        "agrees": found.agrees,
        "says": found.says,
    }


def _show_report(report: RepricingReport, dry_run: bool, options: Options) -> None:
    if options.json:
        show_json({**asdict(report), "dry_run": dry_run})
        return
    counts = {"seen": report.seen, "changed": report.changed, "still unpriced": report.still_unpriced}
    costs = {"cost before": exact_usd(report.cost_before), "cost after": exact_usd(report.cost_after)}
    show_fields(counts | costs)
    if dry_run:
        note("A dry run: nothing was written.")
