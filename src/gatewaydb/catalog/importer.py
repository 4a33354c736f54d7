"""Brings the models of a database up to a catalog."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from gatewaydb.catalog.reader import Catalog, Skipped
from gatewaydb.entities import Model
from gatewaydb.pricing import PriceSheet

CHUNK_MODELS = 250
"""Models at a time: a small part of `query_timeout` for each statement, even with many prices."""

_CUSTOM = "the database has a custom model of this name, which imports leave alone"


class ModelStore(Protocol):
    """What an import needs of `db.models` or `tx.models`."""

    async def get_by_names(self, names: Iterable[str]) -> dict[str, Model]: ...

    async def create_many(self, models: Sequence[Model]) -> Any: ...

    async def update_many(self, models: Sequence[Model]) -> Any: ...


class ImportReport(Struct, frozen=True):
    """What an import did with each entry of the catalog: names of models, and what was skipped and why."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


async def import_catalog(
    models: ModelStore, catalog: Catalog, progress: Callable[[int, int], None] | None = None
) -> ImportReport:
    """Adds the catalog's new models and updates those that differ in a field or a price; writes nothing for the rest.

    A model that is there keeps its id, its aliases, its provider and the prices that were set by hand. Custom models,
    and those that the catalog does not name, stay as they are. Run it inside a transaction, for all or nothing:

        async with db.transaction() as tx:
            report = await import_catalog(tx.models, await read_catalog())

    `progress(done, total)` is called with numbers of models. Raises what `create_many` and `update_many` raise.
    """
    report = ImportReport(skipped=list(catalog.skipped))
    total = len(catalog.models)
    for start in range(0, total, CHUNK_MODELS):
        chunk = catalog.models[start : start + CHUNK_MODELS]
        await _import_chunk(models, chunk, report)
        if progress is not None:
            progress(start + len(chunk), total)
    return report


async def _import_chunk(models: ModelStore, chunk: Sequence[Model], report: ImportReport) -> None:
    stored = await models.get_by_names(model.name for model in chunk)
    new: list[Model] = []
    changed: list[Model] = []
    for model in chunk:
        old = stored.get(model.name)
        if old is None:
            new.append(model)
        elif old.origin == "custom":
            report.skipped.append(Skipped(model.name, _CUSTOM))
        elif (merged := _merged(old, model)) != old:
            changed.append(merged)
        else:
            report.unchanged.append(model.name)
    if new:
        await models.create_many(new)
    if changed:
        await models.update_many(changed)
    report.added.extend(model.name for model in new)
    report.changed.extend(model.name for model in changed)


def _merged(old: Model, model: Model) -> Model:
    """The stored model as the catalog wants it; equal to `old` where that says the same already."""
    return replace(
        model,
        id=old.id,
        provider_id=old.provider_id,
        aliases=old.aliases,
        created_at=old.created_at,
        updated_at=old.updated_at,
        prices=_merged_prices(old.price_sheet, model.price_sheet),
    )


def _merged_prices(old: PriceSheet, new: PriceSheet) -> PriceSheet:
    # A price of the catalog is without end until an import ends it.
    current = Counter(price.terms for price in old if price.origin == "catalog" and price.valid_until is None)
    if current == Counter(price.terms for price in new):
        return old
    return PriceSheet([*(price for price in old if price.origin == "operator"), *new])
