"""`gatewaydb models set-price`, `reset-price` and `history`: the prices of one model, and their past."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewaydb import Model, PriceComponent, PriceSheet
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.lookups import find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import note, say, show_json, show_table, visible
from gatewaydb.cli.prices import (
    CHANGE_COLUMNS,
    amount,
    change_json,
    change_row,
    origin_text,
    percent_text,
    price_components,
    prices_in_force,
    what_for,
)

if TYPE_CHECKING:
    from gatewaydb.catalog import PriceChange

SET_EXAMPLES = (
    "models set-price gpt-4o input=2.50/M output=10/M",
    "models set-price gpt-4o input_cost_per_token_batches=0.00000125",
    "models set-price gpt-4o search_context_cost_per_query.search_context_size_low=0.03 --json",
)


async def set_price(model: str, /, *prices: str, options: Options = DEFAULT_OPTIONS) -> None:
    """Set prices by hand, from now on. They hold over the catalog's and survive imports; the past stays as it was.

    The first prices of a model that had none hold since ever.

    Parameters
    ----------
    model
        Its name, alias or id.
    prices
        FIELD=PRICE in LiteLLM's words and US dollars, one or more; input, output, cache-read and cache-write are
        short for those fields by the million tokens: input=2.50/M.
    """
    if not prices:
        raise UsageError("nothing to set: give FIELD=PRICE, as in input=2.50/M")
    async with options.opened() as db:
        found = await find_model(db, model)
        given = price_components(prices, found.litellm_provider)
        _show_changes(found, await db.models.set_prices(found.id, given), options)


async def reset_price(model: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """End the prices that were set by hand, from now on: the catalog's hold again.

    Parameters
    ----------
    model
        Its name, alias or id.
    """
    async with options.opened() as db:
        found = await find_model(db, model)
        _show_changes(found, await db.models.reset_prices(found.id), options)


async def history(model: str, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Show every price that a model ever had, by version: what began, what ended, and since when.

    Parameters
    ----------
    model
        Its name, alias or id.
    """
    async with options.opened() as db:
        found = await find_model(db, model)
    versions = [_version(found.price_sheet, number) for number in _version_numbers(found.price_sheet)]
    if options.json:
        shown = [version._asdict() for version in versions]
        show_json({"model": found.name, "price_version": found.price_version, "versions": shown})
    else:
        for version in versions:
            since = "since ever" if version.at is None else f"from {version.at:%Y-%m-%d %H:%M:%SZ}"
            say(f"Version {version.version}, {since}", "bold")
            show_table(("field", ">price", ">change", "origin", "until"), list(_rows(version, found)), "")
        if not versions:
            note(f"{visible(found.name)} never had a price")


class Version(NamedTuple):
    """One change of a model's prices; `at` is None where they hold since ever."""

    version: int
    at: datetime | None
    began: list[PriceComponent]
    ended: list[PriceComponent]


def _version_numbers(sheet: PriceSheet) -> list[int]:
    return sorted({number for price in sheet for number in (price.version, price.ended_version) if number})


def _version(sheet: PriceSheet, number: int) -> Version:
    began = [price for price in sheet if price.version == number]
    ended = [price for price in sheet if price.ended_version == number]
    moments = [*(price.valid_until for price in ended), *(price.valid_from for price in began)]
    return Version(number, next(filter(None, moments), None), began, ended)


def _rows(version: Version, model: Model) -> Iterable[tuple[Any, ...]]:
    """What began, and what ended without another in its place."""
    ended = {(price.subject, price.origin): price for price in version.ended}
    before = [ended.pop((price.subject, price.origin), None) for price in version.began]
    changes = [(new, percent_text(_change(old, new))) for old, new in zip(before, version.began, strict=True)]
    for price, change in (*changes, *((price, "ends") for price in ended.values())):
        place = (origin_text(price, model), price.valid_until or "further notice")
        yield price.source_field or what_for(price), amount(price), change, *place


def _show_changes(before: Model, after: Model, options: Options) -> None:
    changes = _price_changes(before, after)
    if options.json:
        listed = [change_json(change) for change in changes]
        show_json({"model": after.name, "price_version": after.price_version, "changes": listed})
    elif changes:
        since = "since ever" if before.price_version is None else "from now on"
        say(f"{visible(after.name)}: version {after.price_version} of its prices, which holds {since}")
        show_table(CHANGE_COLUMNS, [change_row(change) for change in changes], "")
    else:
        note(f"nothing changed: {visible(after.name)} has these prices already")


def _price_changes(before: Model, after: Model) -> list["PriceChange"]:
    was = {price.subject: price for price in prices_in_force(before.price_sheet)}
    becomes = {price.subject: price for price in prices_in_force(after.price_sheet)}
    pairs = [(was.get(subject), becomes.get(subject)) for subject in dict.fromkeys((*was, *becomes))]
    return [_change(old, new) for old, new in pairs if not (old and new and _holds_alike(old, new))]


def _holds_alike(old: PriceComponent, new: PriceComponent) -> bool:
    return (old.rate, old.origin) == (new.rate, new.origin)


def _change(old: PriceComponent | None, new: PriceComponent | None) -> "PriceChange":
    # The catalog brings an HTTP client, which most commands do not need.
    from gatewaydb.catalog import PriceChange  # noqa: PLC0415

    named = new or old
    before, after = (None if price is None else price.rate for price in (old, new))
    return PriceChange(named.source_field if named else "", before, after)
