import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import (
    AlreadyExistsError,
    Database,
    InvalidValueError,
    Model,
    ModelAlias,
    ModelNotFoundError,
    PriceNotFoundError,
    Provider,
)
from gatewaydb.entities.base import new_id
from gatewaydb.entities.models import CAPABILITIES
from tests.clock import ManualClock
from tests.conftest import MakeDatabase

PRICES = {
    "input_cost_per_token": "0.0000025",
    "output_cost_per_token": "1e-05",
    "cache_read_input_token_cost": "0.00000125",
    "input_cost_per_token_above_200k_tokens": "0.000005",
}
ODD_JSON = {
    "unicode": "日本 🔑 \u2028 \\ \" ' </script>",
    "numbers": [0, -1, 2**53, -(2**63), 0.1, 1e308, 5e-324, 1.0],
    "nested": {"": [], "deep": [[[{"a": None, "b": True}]]], "$1": ":name", "null": None},
    "key with NUL's neighbour \x01": "\x01\x1f\x7f",
}
WHOLE = Model(
    name="openai/gpt-4o ü",
    litellm_provider="openai",
    mode="chat",
    max_tokens=4096,
    max_input_tokens=2**53,
    max_output_tokens=0,
    **dict.fromkeys(CAPABILITIES, True),  # type: ignore[arg-type]
    deprecation_date="2027-01-01",
    source="https://example.com/prices?a=b",
    metadata=ODD_JSON,
    prices=PRICES,
)


@pytest.mark.parametrize("model", [WHOLE, Model(name="bare")], ids=["whole", "bare"])
async def test_a_model_comes_back_as_it_went_in(db: Database, model: Model) -> None:
    created = await db.models.create(model)
    assert replace(created, created_at=None, updated_at=None, prices=()) == replace(model.checked(), prices=())
    assert list(created.price_sheet) == [replace(price, version=1) for price in model.price_sheet]
    assert await db.models.get_by_name(model.name) == created
    assert await db.models.get_by_id(model.id) == created
    assert await db.models.list() == [created]
    assert await db.models.get_by_names([model.name, "no such"]) == {model.name: created}


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_each_capability_is_off_unless_it_is_said(capability: str) -> None:
    assert getattr(Model(name="bare"), capability) is False


async def test_metadata_keeps_its_types(db: Database) -> None:
    await db.models.create(WHOLE)
    numbers = (await db.models.get_by_id(WHOLE.id)).metadata["numbers"]
    assert [type(number) for number in numbers] == [int, int, int, int, float, float, float, float]


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 10**30, -(10**30)])
async def test_a_huge_number_in_metadata_comes_back_or_is_refused(db: Database, number: int) -> None:
    model = Model(name="huge", metadata={"n": number})
    try:
        await db.models.create(model)
    except InvalidValueError:
        assert await db.models.list() == []
    else:
        assert (await db.models.get_by_id(model.id)).metadata == {"n": number}


async def test_prices_are_exact_and_costs_follow_from_them(db: Database) -> None:
    await db.models.create(WHOLE)
    model = await db.models.get_by_name(WHOLE.name)
    assert model.calculate_cost(1000, 500) == Decimal("0.0075")
    assert model.calculate_cost(1000, 500, cache_read_tokens=400) == Decimal("0.007")
    assert [component.literal for component in model.price_sheet] == list(PRICES.values())


async def test_no_price_is_not_free(db: Database) -> None:
    await db.models.create(Model(name="bare"))
    with pytest.raises(PriceNotFoundError):
        (await db.models.get_by_name("bare")).calculate_cost(1, 0)


async def test_a_price_may_have_any_number_of_digits(db: Database) -> None:
    price = "0." + "0" * 20 + "123456789012345678901234567890"
    model = await db.models.create(Model(name="tiny", prices={"input_cost_per_token": price}))
    assert [component.price for component in (await db.models.get_by_id(model.id)).price_sheet] == [Decimal(price)]


async def test_update_replaces_everything_and_the_prices(
    make_database: MakeDatabase, clock: ManualClock, model: Model
) -> None:
    db = await make_database(clock=clock)
    await db.models.get_by_name("gpt-4")
    clock.advance(60)
    wanted = replace(WHOLE.checked(), id=model.id)
    changed = await db.models.update(wanted)
    wanted = replace(wanted, prices=(), created_at=model.created_at, updated_at=clock.now())
    assert replace(changed, prices=()) == wanted
    assert changed.calculate_cost(1000, 500) == Decimal("0.0075")
    assert await db.models.get_by_name(WHOLE.name) == changed
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_name("gpt-4")


async def test_update_many_is_all_or_nothing(db: Database, model: Model) -> None:
    with pytest.raises(ModelNotFoundError):
        await db.models.update_many([replace(model, mode="chat"), Model(name="ghost")])
    assert (await db.models.get_by_id(model.id)).mode is None
    await db.models.update_many([replace(model, mode="chat")])
    assert (await db.models.get_by_name("gpt-4")).mode == "chat"


async def test_create_many_is_all_or_nothing(db: Database, model: Model) -> None:
    with pytest.raises(AlreadyExistsError, match="name"):
        await db.models.create_many([Model(name="new"), Model(name="gpt-4")])
    assert [found.name for found in await db.models.list()] == ["gpt-4"]
    assert len(await db.models.create_many([Model(name=f"m{n}") for n in range(3)])) == 3
    assert await db.models.create_many([]) == []


async def test_names_and_ids_are_unique(db: Database, model: Model) -> None:
    other = await db.models.create(Model(name="other"))
    for write in (
        db.models.create(Model(name="gpt-4")),
        db.models.create(Model(id=model.id, name="new")),
        db.models.update(replace(other, name="gpt-4")),
    ):
        with pytest.raises(AlreadyExistsError):
            await write
    assert {found.name for found in await db.models.list()} == {"gpt-4", "other"}


async def test_names_are_told_apart_by_case(db: Database, model: Model) -> None:
    await db.models.create(Model(name="GPT-4"))
    assert (await db.models.get_by_name("GPT-4")).name == "GPT-4"
    assert (await db.models.get_by_name("gpt-4")).id == model.id


async def test_what_does_not_exist_cannot_be_changed(db: Database) -> None:
    for call in (
        db.models.get_by_id(WHOLE.id),
        db.models.get_by_name("ghost"),
        db.models.update(WHOLE),
        db.models.delete(WHOLE.id),
    ):
        with pytest.raises(ModelNotFoundError):
            await call


async def test_a_provider_has_to_exist(db: Database) -> None:
    with pytest.raises(InvalidValueError, match="does not exist"):
        await db.models.create(Model(name="orphan", provider_id=new_id()))
    assert await db.models.list() == []


async def test_models_are_found_by_either_kind_of_provider(db: Database, model: Model) -> None:
    provider = await db.providers.create(Provider(name="ours"))
    ours = await db.models.create(Model(name="a", litellm_provider="anthropic", provider_id=provider.id))
    assert [found.name for found in await db.models.get_by_provider("openai")] == ["gpt-4"]
    assert await db.models.get_by_provider(provider.id) == [ours]
    assert await db.models.get_by_provider("nobody") == []
    assert await db.models.get_by_provider(new_id()) == []


async def test_a_model_is_cached_under_its_name_and_each_alias(
    db: Database, model: Model, statements: list[str]
) -> None:
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=model.id))
    statements.clear()
    by_name, by_alias = await db.models.get_by_name("gpt-4"), await db.models.get_by_name("fast")
    assert by_name == by_alias
    assert by_name.aliases == ("fast",)
    for name in ("gpt-4", "fast"):
        await db.models.get_by_name(name)
    assert len(statements) == 2
    assert (db.stats().model_cache.size, db.stats().model_cache.hits) == (2, 2)


async def test_a_change_is_seen_under_every_name(db: Database, model: Model) -> None:
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=model.id))
    for name in ("gpt-4", "fast"):
        await db.models.get_by_name(name)
    await db.models.update(replace(model, mode="chat"))
    assert [(await db.models.get_by_name(name)).mode for name in ("gpt-4", "fast")] == ["chat", "chat"]
    await db.models.delete(model.id)
    for name in ("gpt-4", "fast"):
        with pytest.raises(ModelNotFoundError):
            await db.models.get_by_name(name)
    assert await db.model_aliases.list() == []


async def test_concurrent_misses_ask_once(db: Database, model: Model, statements: list[str]) -> None:
    statements.clear()
    await asyncio.gather(*(db.models.get_by_name("gpt-4") for _ in range(50)))
    assert len(statements) == 1


async def test_after_a_change_from_outside_the_cache_is_told(
    db: Database, make_database: MakeDatabase, model: Model
) -> None:
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=model.id))
    for name in ("gpt-4", "fast"):
        await db.models.get_by_name(name)
    async with (await make_database()).transaction() as tx:
        await tx.execute("UPDATE models SET mode = $1", "chat")
    db.models.invalidate_cache("gpt-4")
    assert [(await db.models.get_by_name(name)).mode for name in ("gpt-4", "fast")] == ["chat", "chat"]


async def test_deleting_a_model_takes_its_prices_along(db: Database, model: Model) -> None:
    await db.models.delete(model.id)
    async with db.transaction() as tx:
        assert await tx.fetch("SELECT * FROM price_components") == []
