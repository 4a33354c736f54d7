from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import BillableUsage, Database, InvalidValueError, Model, ModelNotFoundError
from gatewaydb.entities.base import new_id
from tests.clock import START, ManualClock
from tests.conftest import MakeDatabase

USAGE = BillableUsage(input_tokens=100, output_tokens=10)
OLD = {"input_cost_per_token": "0.01", "output_cost_per_token": "0.03", "cache_read_input_token_cost": "0.001"}
NEW = {"input_cost_per_token": "0.02", "output_cost_per_token": "0.03"}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DAY_S = 86_400


async def test_a_first_price_holds_since_ever(db: Database) -> None:
    model = await db.models.create(Model(name="m", prices=OLD))
    stored = await db.models.get_by_id(model.id)
    assert stored.cost_of(USAGE, at=LONG_AGO).total == Decimal("1.3")
    assert stored.price_version == 1


async def test_a_change_of_price_leaves_the_past_alone(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    model = await db.models.create(Model(name="m", prices=OLD))
    clock.advance(DAY_S)
    changed = await db.models.update(replace(model, prices=NEW))
    assert changed.price_version == 2
    assert changed.cost_of(USAGE, at=START).total == Decimal("1.3")
    assert changed.cost_of(USAGE, at=clock.now()).total == Decimal("2.3")
    assert changed.cost_of(USAGE, at=clock.now() - timedelta(microseconds=1)).total == Decimal("1.3")
    closed = [price.source_field for price in changed.price_sheet if price.valid_until == clock.now()]
    assert closed == ["input_cost_per_token", "cache_read_input_token_cost"]


async def test_an_update_without_another_price_writes_no_history(db: Database) -> None:
    model = await db.models.create(Model(name="m", prices=OLD))
    renamed = await db.models.update(replace(model, name="n"))
    again = await db.models.update(renamed)
    assert again.prices == renamed.prices == (await db.models.get_by_id(model.id)).prices
    assert again.price_version == 1


async def test_a_price_that_comes_back_is_a_new_version(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    model = await db.models.create(Model(name="m", prices=OLD))
    for prices in (NEW, OLD):
        clock.advance(DAY_S)
        model = await db.models.update(replace(model, prices=prices))
    costs = [model.cost_of(USAGE, at=START + timedelta(days=day)).total for day in range(3)]
    assert costs == [Decimal("1.3"), Decimal("2.3"), Decimal("1.3")]
    assert model.price_version == 3


async def test_a_version_names_one_sheet_exactly(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    sheets = [(await db.models.create(Model(name="m", prices=OLD))).price_sheet]
    model = await db.models.get_by_name("m")
    for prices in (NEW, {}, OLD):
        clock.advance(DAY_S)
        model = await db.models.update(replace(model, prices=prices))
        sheets.append(model.price_sheet)
    for version, sheet in enumerate(sheets, 1):
        then = {price.terms for price in sheet if price.valid_until is None}
        assert {price.terms for price in model.price_sheet.of_version(version) if price.valid_until is None} == then


async def test_prices_set_by_hand_hold_over_the_catalogs(db: Database) -> None:
    model = await db.models.create(Model(name="m", origin="catalog", prices=OLD))
    by_hand = await db.models.set_prices(model.id, {"input_cost_per_token": "0.5"})
    assert by_hand.cost_of(USAGE).total == Decimal("50.3")
    again = await db.models.set_prices(model.id, {"input_cost_per_token": "0.7"})
    assert again.cost_of(USAGE).total == Decimal("70.3")
    assert (await db.models.reset_prices(model.id)).cost_of(USAGE).total == Decimal("1.3")


async def test_prices_set_by_hand_are_seen_at_once(db: Database) -> None:
    model = await db.models.create(Model(name="m", prices=OLD))
    await db.models.get_by_name("m")
    await db.models.set_prices(model.id, {"input_cost_per_token": "0"})
    assert (await db.models.get_by_name("m")).calculate_cost(100, 10) == Decimal("0.3")
    await db.models.reset_prices(model.id)
    assert (await db.models.get_by_name("m")).calculate_cost(100, 10) == Decimal("1.3")


async def test_a_bad_price_changes_nothing(db: Database) -> None:
    model = await db.models.create(Model(name="m", prices=OLD))
    for prices in ({"input_cost_per_token": "-1"}, {"input_cost_per_token": 0.5}, {"input_cost_per_tokn": "1"}):
        with pytest.raises(InvalidValueError, match="input_cost_per_tok"):
            await db.models.set_prices(model.id, prices)
    assert await db.models.get_by_id(model.id) == model


async def test_prices_of_no_model_are_an_error(db: Database) -> None:
    with pytest.raises(ModelNotFoundError):
        await db.models.set_prices(new_id(), OLD)
    with pytest.raises(ModelNotFoundError):
        await db.models.reset_prices(new_id())


async def test_a_price_set_by_hand_is_read_as_its_provider_means_it(db: Database) -> None:
    prices = {"input_cost_per_token": "1", "input_cost_per_token_above_128k_tokens": "2"}
    model = await db.models.create(Model(name="grok", litellm_provider="xai", origin="catalog"))
    by_hand = await db.models.set_prices(model.id, prices)
    assert by_hand.cost_of(BillableUsage(input_tokens=127_999)).total == 127_999
    assert by_hand.cost_of(BillableUsage(input_tokens=128_000)).total == 256_000
