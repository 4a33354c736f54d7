"""An import brings the models of the database up to the catalog, all or nothing."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from gatewaydb import BillableUsage, Database, Model, ModelAlias, Provider
from gatewaydb.catalog import Catalog, ImportReport, Skipped, diff_catalog, import_catalog, read_catalog
from gatewaydb.entities.models import CAPABILITIES, LIMITS

FIELDS = ("litellm_provider", "mode", *LIMITS, *CAPABILITIES, "deprecation_date", "source", "origin", "metadata")
PRICES = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
DEARER = {"input_cost_per_token": 3e-06, "output_cost_per_token": 2e-06}


@pytest.fixture(scope="module")
def bundled() -> Catalog:
    return asyncio.run(read_catalog())


@pytest.fixture
def read(tmp_path: Path) -> Callable[[dict[str, Any]], Any]:
    """Entries as a price file, read back as a catalog."""

    async def through_a_file(entries: dict[str, Any]) -> Catalog:
        path = tmp_path / "prices.json"
        path.write_text(json.dumps(entries))
        return await read_catalog(path)

    return through_a_file


async def run(db: Database, catalog: Catalog, progress: Callable[[int, int], None] | None = None) -> ImportReport:
    async with db.transaction() as tx:
        return await import_catalog(tx.models, catalog, progress)


class ReadOnly:
    """A store that fails a test which writes."""

    def __init__(self, db: Database) -> None:
        self.get_by_names = db.models.get_by_names
        self.get_catalog_names = db.models.get_catalog_names

    async def create_many(self, models: Sequence[Model]) -> None:
        pytest.fail(f"would add {len(models)} models")

    async def update_many(self, models: Sequence[Model]) -> None:
        pytest.fail(f"would change {len(models)} models")

    async def mark_vanished(self, names: Iterable[str]) -> None:
        pytest.fail(f"would mark {names}")


async def stored_models(db: Database) -> dict[str, Model]:
    found: dict[str, Model] = {}
    after: UUID | None = None
    while page := await db.models.list(limit=2_000, after=after):
        found |= {model.name: model for model in page}
        after = page[-1].id
    return found


def input_cost(model: Model) -> Decimal | None:
    """Of a million tokens; None where they have no price."""
    return model.cost_of(BillableUsage(input_tokens=1_000_000)).cost_usd


def names(models: Iterable[Model]) -> list[str]:
    return sorted(model.name for model in models)


async def test_the_whole_catalog_survives_the_database_and_a_second_import_writes_nothing(
    db: Database, bundled: Catalog
) -> None:
    steps: list[tuple[int, int]] = []
    report = await run(db, bundled, lambda done, total: steps.append((done, total)))
    assert sorted(report.added) == names(bundled.models)
    assert (report.changed, report.unchanged, report.skipped) == ([], [], [])
    assert steps == sorted(steps)
    assert steps[-1] == (4_551, 4_551)

    stored = await stored_models(db)
    assert len(stored) == 4_551
    for model in bundled.models:
        found = stored[model.name]
        assert [getattr(found, field) for field in FIELDS] == [getattr(model, field) for field in FIELDS]
        assert [price.terms for price in found.price_sheet] == [price.terms for price in model.price_sheet]

    again = await import_catalog(ReadOnly(db), bundled)
    assert sorted(again.unchanged) == names(bundled.models)
    assert (again.added, again.changed, again.skipped) == ([], [], [])


async def test_a_changed_price_holds_at_once_though_the_model_was_cached(db: Database, read: Any) -> None:
    await run(db, await read({"gpt-4": PRICES, "o1": PRICES}))
    assert input_cost(await db.models.get_by_name("gpt-4")) == 1
    report = await run(db, await read({"gpt-4": DEARER, "o1": PRICES}))
    assert (report.changed, report.unchanged) == (["gpt-4"], ["o1"])
    assert input_cost(await db.models.get_by_name("gpt-4")) == 3


async def test_a_price_may_go_and_come_back(db: Database, read: Any) -> None:
    for entry, expected in (({}, None), (PRICES, 1), (DEARER, 3), ({}, None), (PRICES, 1)):
        await run(db, await read({"gpt-4": entry}))
        assert input_cost(await db.models.get_by_name("gpt-4")) == expected


async def test_a_changed_field_is_changed_and_the_prices_stay(db: Database, read: Any) -> None:
    await run(db, await read({"gpt-4": PRICES}))
    before = await db.models.get_by_name("gpt-4")
    report = await run(db, await read({"gpt-4": {**PRICES, "max_tokens": 8192, "rpm": 5}}))
    after = await db.models.get_by_name("gpt-4")
    assert report.changed == ["gpt-4"]
    assert (after.max_tokens, after.metadata) == (8192, {"rpm": 5})
    assert after.price_sheet == before.price_sheet


async def test_the_order_of_fields_changes_nothing(db: Database, read: Any) -> None:
    await run(db, await read({"gpt-4": PRICES}))
    report = await import_catalog(ReadOnly(db), await read({"gpt-4": dict(reversed(PRICES.items()))}))
    assert report.unchanged == ["gpt-4"]


async def test_id_aliases_provider_and_prices_set_by_hand_survive(db: Database, read: Any) -> None:
    await run(db, await read({"gpt-4": PRICES}))
    provider = await db.providers.create(Provider(name="openai"))
    imported = await db.models.get_by_name("gpt-4")
    await db.models.update(replace(imported, provider_id=provider.id))
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=imported.id))
    await db.models.set_prices(imported.id, {"input_cost_per_token": "0.000009"})

    catalog = await read({"gpt-4": {**DEARER, "mode": "chat"}})
    assert (await run(db, catalog)).changed == ["gpt-4"]
    model = await db.models.get_by_name("fast")
    assert (model.id, model.provider_id, model.aliases, model.mode) == (imported.id, provider.id, ("fast",), "chat")
    assert input_cost(model) == 9
    assert (await import_catalog(ReadOnly(db), catalog)).unchanged == ["gpt-4"]

    await db.models.reset_prices(model.id)
    assert input_cost(await db.models.get_by_name("gpt-4")) == 3


async def test_custom_models_and_unnamed_ones_stay_as_they_are(db: Database, read: Any) -> None:
    await run(db, await read({"old": PRICES}))
    mine = await db.models.create(Model(name="mine", prices={"input_cost_per_token": "0.000007"}))
    report = await run(db, await read({"mine": PRICES}))
    assert [skipped.name for skipped in report.skipped] == ["mine"]
    assert "custom model" in report.skipped[0].reason
    assert input_cost(await db.models.get_by_name("mine")) == input_cost(mine) == 7
    assert input_cost(await db.models.get_by_name("old")) == 1


async def test_what_the_catalog_skipped_is_in_the_report(db: Database, read: Any) -> None:
    await run(db, await read({"gpt-4": PRICES}))
    catalog = await read({"gpt-4": {"max_tokens": "many"}, "o1": PRICES})
    report = await run(db, catalog)
    assert (report.added, report.skipped) == (["o1"], list(catalog.skipped))
    assert isinstance(report.skipped[0], Skipped)
    assert input_cost(await db.models.get_by_name("gpt-4")) == 1


async def test_an_import_that_fails_midway_leaves_nothing(db: Database, bundled: Catalog, read: Any) -> None:
    await run(db, await read({"claude-sonnet-5": PRICES}))
    before = await db.models.get_by_name("claude-sonnet-5")

    def full(done: int, total: int) -> None:
        if done == total:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await run(db, bundled, full)
    assert await db.models.list() == [before]
    assert await db.models.get_by_name("claude-sonnet-5") is before


async def test_a_diff_says_what_an_import_would_do_and_writes_nothing(db: Database, read: Any) -> None:
    await run(db, await read({"same": PRICES, "dearer": PRICES, "gone": PRICES}))
    before = await stored_models(db)
    diff = await diff_catalog(ReadOnly(db), await read({"same": PRICES, "dearer": DEARER, "new": PRICES}))
    assert (diff.added, diff.vanished) == (["new"], ["gone"])
    (change,) = diff.changed
    assert (change.name, change.fields) == ("dearer", ())
    assert [(price.field, price.percent) for price in change.prices] == [("input_cost_per_token", Decimal("200.0"))]
    assert await stored_models(db) == before


async def test_a_model_that_vanished_is_marked_and_goes_on_working(db: Database, read: Any) -> None:
    await run(db, await read({"stays": PRICES, "goes": PRICES}))
    await db.models.create(Model(name="custom"))
    await db.models.get_by_name("goes")
    report = await run(db, await read({"stays": PRICES}))
    assert report.vanished == ["goes"]
    gone = await db.models.get_by_name("goes")
    assert gone.vanished_at is not None
    assert input_cost(gone) == Decimal(1)
    assert (await db.models.get_by_name("custom")).vanished_at is None
    assert (await run(db, await read({"stays": PRICES}))).vanished == []


async def test_a_model_that_comes_back_is_marked_no_more(db: Database, read: Any) -> None:
    await run(db, await read({"m": PRICES}))
    await run(db, await read({}))
    assert (await run(db, await read({"m": PRICES}))).changed == ["m"]
    assert (await db.models.get_by_name("m")).vanished_at is None


async def test_an_import_keeps_the_past_of_prices(db: Database, read: Any) -> None:
    await run(db, await read({"m": PRICES}))
    between = datetime.now(UTC)
    await run(db, await read({"m": DEARER}))
    model = await db.models.get_by_name("m")
    usage = BillableUsage(input_tokens=1_000_000)
    assert model.cost_of(usage, at=between).total == Decimal(1)
    assert model.cost_of(usage).total == Decimal(3)
    assert model.price_version == 2


async def test_prices_set_by_hand_survive_an_import(db: Database, read: Any) -> None:
    await run(db, await read({"m": PRICES}))
    model = await db.models.get_by_name("m")
    await db.models.set_prices(model.id, {"input_cost_per_token": "0.5"})
    await run(db, await read({"m": DEARER}))
    by_hand = await db.models.get_by_name("m")
    assert by_hand.calculate_cost(1, 0) == Decimal("0.5")
    assert (await run(db, await read({"m": DEARER}))).unchanged == ["m"]
    assert input_cost(await db.models.reset_prices(model.id)) == Decimal(3)
