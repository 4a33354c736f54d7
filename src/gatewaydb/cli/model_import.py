"""`gatewaydb models import`: loads a catalog of models and prices, or shows what that would change."""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import note, progress_bar, say, show_fields, show_json, show_table, visible
from gatewaydb.cli.prices import CHANGE_COLUMNS, WARNING, change_json, change_row

if TYPE_CHECKING:
    from gatewaydb.catalog import CatalogDiff, ImportReport, ModelChange, PriceChange

EXAMPLES = (
    "models import",
    "models import prices.json",
    "models import --diff",
    "models import https://example.com/prices.json --diff --apply --json",
)
_SHOWN = 20
_WARNINGS = ("turns 0", "was free", "grows tenfold or more", "is gone", "shrinks to a tenth or less")


class NamedChange(NamedTuple):
    """A change of a price, and the model that has it."""

    model: str
    price: "PriceChange"


async def import_models(
    source: str | None = None,
    /,
    *,
    diff: Annotated[bool, Parameter(show_default=False)] = False,
    apply: Annotated[bool, Parameter(show_default=False)] = False,
    skip_invalid: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Load models and prices: new ones are added, changed ones updated, all or nothing.

    Prices that were set by hand hold on, custom models stay as they are, and models that are gone from the catalog
    are marked and go on working.

    Parameters
    ----------
    source
        A file or an http(s) URL in the form of LiteLLM's price file; else the catalog that the package brings.
    diff
        Change nothing: show what would change, what should be looked at first.
    apply
        With --diff: show it, then import.
    skip_invalid
        Skip entries with a price that is none (negative, a text); else they refuse the whole file.
    """
    # The catalog brings an HTTP client, which no other command needs.
    from gatewaydb.catalog import diff_catalog, import_catalog, read_catalog  # noqa: PLC0415

    catalog = await read_catalog(source, skip_invalid=skip_invalid)
    shown: dict[str, Any] = {"source": catalog.source}
    async with options.opened() as db:
        if diff:
            with progress_bar("Comparing models") as progress:
                found = await diff_catalog(db.models, catalog, progress)
            shown |= _diff_json(found) | {"applied": apply}
            if not options.json:
                _show_diff(found, catalog.source)
        if apply or not diff:
            with progress_bar("Importing models") as progress:
                async with db.transaction() as tx:
                    report = await import_catalog(tx.models, catalog, progress)
            shown |= {} if diff else _report_json(report)
            if not options.json:
                _show_report(report, catalog.source)
    if options.json:
        show_json(shown)
    elif diff and not apply:
        note("Nothing was written; to import it: --diff --apply")


def _report_json(report: "ImportReport") -> dict[str, Any]:
    parts = _parts(report)
    named = {f"{name}_models": part for name, part in parts.items() if name != "unchanged"}
    return {name: len(part) for name, part in parts.items()} | named


def _show_report(report: "ImportReport", source: str) -> None:
    show_fields({"source": source} | {name: len(part) for name, part in _parts(report).items()})
    _name_some("changed", report.changed)
    _name_some("vanished", report.vanished)
    _name_some("skipped", [f"{entry.name}: {entry.reason}" for entry in report.skipped])


def _parts(report: Any) -> dict[str, Sequence[Any]]:
    return {name: getattr(report, name) for name in report.__struct_fields__}


def _diff_json(diff: "CatalogDiff") -> dict[str, Any]:
    numbers = {name: len(part) for name, part in _parts(diff).items()}
    changed = [
        {"name": model.name, "fields": model.fields, "prices": [change_json(price) for price in model.prices]}
        for model in diff.changed
    ]
    named = {"added_models": diff.added, "skipped_models": diff.skipped, "vanished_models": diff.vanished}
    return {**numbers, "flagged": len(_flagged(diff.changed)), **named, "changed_models": changed}


def _show_diff(diff: "CatalogDiff", source: str) -> None:
    """What is suspicious first, then what is gone, then the rest, the most striking first."""
    flagged = _flagged(diff.changed)
    plain = [change for change in _price_changes(diff.changed) if not change.price.warning]
    up = [change for change in plain if (change.price.percent or 0) > 0]
    down = [change for change in plain if (change.price.percent or 0) < 0]
    show_fields(
        {"source": source, "new models": len(diff.added), "gone models": len(diff.vanished)}
        | {"changed models": len(diff.changed), "skipped": len(diff.skipped)}
        | {"prices up": len(up), "prices down": len(down)}
        | {f"prices: {warning}": count for warning, count in Counter(c.price.warning for c in flagged).items()}
    )
    _show_changes("Look at these prices first", flagged, WARNING)
    _name_some("gone", diff.vanished, WARNING)
    _show_changes("Prices up", sorted(up, key=_size), "bold")
    _show_changes("Prices down", sorted(down, key=_size), "bold")
    _show_changes("More prices", [change for change in plain if not change.price.percent], "bold")
    _name_some("new", diff.added)
    others = [f"{model.name}: {', '.join(model.fields)}" for model in diff.changed if model.fields]
    _name_some("changed", others)
    _name_some("skipped", [f"{entry.name}: {entry.reason}" for entry in diff.skipped])


def _price_changes(models: Iterable["ModelChange"]) -> list[NamedChange]:
    return [NamedChange(model.name, price) for model in models for price in model.prices]


def _flagged(models: Iterable["ModelChange"]) -> list[NamedChange]:
    found = [change for change in _price_changes(models) if change.price.warning]
    return sorted(found, key=lambda change: (_WARNINGS.index(change.price.warning), _size(change)))


def _size(change: NamedChange) -> tuple[Decimal, str]:
    """The greatest first."""
    return -abs(change.price.percent or Decimal(0)), change.model


def _show_changes(title: str, changes: Sequence[NamedChange], style: str) -> None:
    if changes:
        say(f"\n{title}", style)
        rows = [(change.model, *change_row(change.price)) for change in changes[:_SHOWN]]
        show_table(("model", *CHANGE_COLUMNS), rows, "")
        _say_rest(len(changes), "prices")


def _name_some(what: str, names: Sequence[str], style: str | None = None) -> None:
    for name in names[:_SHOWN]:
        say(f"  {what} {visible(name)}", style)
    _say_rest(len(names), what)


def _say_rest(count: int, what: str) -> None:
    if count > _SHOWN:
        say(f"  ... and {count - _SHOWN:,} more {what}; --json names all")
