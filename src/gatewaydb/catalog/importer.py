"""Brings the models of a database up to a catalog."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from gatewaydb.catalog.comparison import ModelChange, compare
from gatewaydb.catalog.reader import Catalog, Skipped
from gatewaydb.entities import Model
from gatewaydb.pricing import PriceSheet

CHUNK_MODELS = 250
"""Models at a time: a small part of `query_timeout` for each statement, even with many prices."""

_CUSTOM = "the database has a custom model of this name, which imports leave alone"


class ModelStore(Protocol):
    """What an import needs of `db.models` or `tx.models`."""

    async def get_by_names(self, names: Iterable[str], *, for_update: bool = False) -> dict[str, Model]: ...

    async def get_catalog_names(self) -> set[str]: ...

    async def create_many(self, models: Sequence[Model]) -> Any: ...

    async def update_many(self, models: Sequence[Model]) -> Any: ...

    async def mark_vanished(self, names: Iterable[str]) -> None: ...


class ImportReport(Struct, frozen=True):
    """What an import did with each entry of the catalog: names of models, and what was skipped and why.

    `vanished` are models of earlier imports that this catalog does not name: they are marked, and go on working.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)


class CatalogDiff(Struct, frozen=True):
    """What an import would do."""

    added: list[str] = field(default_factory=list)
    changed: list[ModelChange] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)


class _Plan(NamedTuple):
    new: list[Model]
    changed: list[tuple[Model, Model]]
    unchanged: list[str]
    skipped: list[Skipped]


async def import_catalog(
    models: ModelStore, catalog: Catalog, progress: Callable[[int, int], None] | None = None
) -> ImportReport:
    """Adds the catalog's new models and updates those that differ in a field or a price; writes nothing for the rest.

    A model that is there keeps its id, its aliases, its provider and the prices that were set by hand; prices that
    change end and are followed by the new ones. Custom models stay as they are. Run it inside a transaction, for all or
    nothing:

        async with db.transaction() as tx:
            report = await import_catalog(tx.models, await read_catalog())

    `progress(done, total)` is called with numbers of models. Raises what `create_many` and `update_many` raise.
    """
    report = ImportReport(skipped=list(catalog.skipped), vanished=await _vanished(models, catalog))
    if report.vanished:
        await models.mark_vanished(report.vanished)
    async for plan in _plans(models, catalog, progress, for_update=True):
        if plan.new:
            await models.create_many(plan.new)
        if plan.changed:
            await models.update_many([new for _, new in plan.changed])
        report.added.extend(model.name for model in plan.new)
        report.changed.extend(new.name for _, new in plan.changed)
        report.unchanged.extend(plan.unchanged)
        report.skipped.extend(plan.skipped)
    return report


async def diff_catalog(
    models: ModelStore, catalog: Catalog, progress: Callable[[int, int], None] | None = None
) -> CatalogDiff:
    """What `import_catalog` would do now, price by price; it writes nothing."""
    diff = CatalogDiff(skipped=list(catalog.skipped), vanished=await _vanished(models, catalog))
    async for plan in _plans(models, catalog, progress, for_update=False):
        diff.added.extend(model.name for model in plan.new)
        diff.changed.extend(compare(old, new) for old, new in plan.changed)
        diff.skipped.extend(plan.skipped)
    return diff


async def _vanished(models: ModelStore, catalog: Catalog) -> list[str]:
    named = {model.name for model in catalog.models} | {entry.name for entry in catalog.skipped}
    return sorted(await models.get_catalog_names() - named)


async def _plans(
    models: ModelStore, catalog: Catalog, progress: Callable[[int, int], None] | None, *, for_update: bool
) -> AsyncIterator[_Plan]:
    total = len(catalog.models)
    for start in range(0, total, CHUNK_MODELS):
        chunk = catalog.models[start : start + CHUNK_MODELS]
        stored = await models.get_by_names((model.name for model in chunk), for_update=for_update)
        yield _plan(stored, chunk)
        if progress is not None:
            progress(start + len(chunk), total)


def _plan(stored: Mapping[str, Model], chunk: Iterable[Model]) -> _Plan:
    plan = _Plan([], [], [], [])
    for model in chunk:
        old = stored.get(model.name)
        if old is None:
            plan.new.append(model)
        elif old.origin == "custom":
            plan.skipped.append(Skipped(model.name, _CUSTOM))
        elif (merged := _merged(old, model)) != old:
            plan.changed.append((old, merged))
        else:
            plan.unchanged.append(model.name)
    return plan


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
