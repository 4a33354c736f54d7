"""What a miss costs the database: many at once, made-up keys, warming up. Both engines give the same answers."""

import asyncio
from datetime import timedelta
from secrets import token_hex

import pytest

from gatewaydb import (
    APIKey,
    APIKeyNotFoundError,
    Database,
    InvalidValueError,
    Model,
    ModelAlias,
    ModelNotFoundError,
    UsageRecord,
)
from tests.clock import START, ManualClock
from tests.conftest import MakeDatabase


async def make_keys(db: Database, number: int) -> list[APIKey]:
    async with db.transaction() as tx:
        return [(await tx.api_keys.issue(f"key {n}", metadata={"a": {"b": f"{n}"}}))[0] for n in range(number)]


async def test_many_cold_keys_at_once_are_few_queries(db: Database, dialect: str, statements: list[str]) -> None:
    keys = await make_keys(db, 300)
    ghosts = [token_hex(32) for _ in range(100)]
    statements.clear()
    asked = [key.key_hash for key in keys] + ghosts
    found = await asyncio.gather(*map(db.api_keys.get_by_hash, asked), return_exceptions=True)
    assert found[:300] == keys
    assert all(isinstance(error, APIKeyNotFoundError) for error in found[300:])
    assert len(statements) <= (6 if dialect == "postgres" else 400)
    stats = db.stats().api_key_cache
    assert (stats.size, stats.absent_size, stats.loads_in_flight) == (300, 100, 0)
    assert (stats.coalesced >= 390) == (dialect == "postgres")


async def test_many_cold_models_at_once_are_found_by_name_else_by_enabled_alias(db: Database) -> None:
    prices = {"input_cost_per_token": "0.00003"}
    models = await db.models.create_many([Model(name=f"model {n}", prices=prices) for n in range(40)])
    for number, model in enumerate(models):
        await db.model_aliases.create(ModelAlias(alias=f"alias {number}", model_id=model.id, enabled=number % 2 == 0))
    await db.model_aliases.create(ModelAlias(alias="model 0", model_id=models[1].id))
    names = [model.name for model in models]
    enabled, disabled = ([f"alias {n}" for n in range(first, 40, 2)] for first in (0, 1))
    found = await asyncio.gather(
        *map(db.models.get_by_name, [*names, *enabled, *disabled, "ghost"]), return_exceptions=True
    )
    whole = [await db.models.get_by_id(model.id) for model in models]
    assert found[:60] == whole + whole[::2]
    assert all(isinstance(error, ModelNotFoundError) for error in found[60:])


async def test_a_flood_of_made_up_keys_evicts_no_real_one_and_takes_few_connections(
    make_database: MakeDatabase, dialect: str, statements: list[str]
) -> None:
    db = await make_database(api_key_cache_size=10)
    keys = await make_keys(db, 10)
    for key in keys:
        await db.api_keys.get_by_hash(key.key_hash)
    statements.clear()
    ghosts = [token_hex(32) for _ in range(5_000)]
    most = 0

    async def ask(mine: list[str]) -> None:
        nonlocal most
        for ghost in mine:
            with pytest.raises(APIKeyNotFoundError):
                await db.api_keys.get_by_hash(ghost)
            most = max(most, db.stats().in_use)

    for _ in range(2):
        await asyncio.gather(*(ask(ghosts[first::100]) for first in range(100)))
    stats = db.stats().api_key_cache
    assert len(statements) <= (500 if dialect == "postgres" else 5_000)
    assert (stats.evictions, stats.absent_hits, stats.absent_size) == (0, 5_000, 5_000)
    assert most <= 2
    for key in keys:
        assert await db.api_keys.get_by_hash(key.key_hash) == key
    assert db.stats().api_key_cache.hits == stats.hits + 10


async def test_a_key_that_appears_is_found_after_absent_ttl_at_the_latest(
    make_database: MakeDatabase, clock: ManualClock
) -> None:
    writer, reader = await make_database(), await make_database(clock=clock, absent_ttl="3s")
    key = APIKey(name="new", key_hash=token_hex(32))
    with pytest.raises(APIKeyNotFoundError):
        await reader.api_keys.get_by_hash(key.key_hash)
    stored = await writer.api_keys.create(key)
    clock.advance(3)
    assert await reader.api_keys.get_by_hash(key.key_hash) == stored


async def test_an_absent_ttl_of_0_remembers_nothing_absent(make_database: MakeDatabase) -> None:
    writer, reader = await make_database(), await make_database(absent_ttl="0s")
    key = APIKey(name="new", key_hash=token_hex(32))
    with pytest.raises(APIKeyNotFoundError):
        await reader.api_keys.get_by_hash(key.key_hash)
    stored = await writer.api_keys.create(key)
    assert await reader.api_keys.get_by_hash(key.key_hash) == stored


async def test_a_name_works_as_soon_as_something_bears_it(db: Database, model: Model) -> None:
    """Whatever made it so: each was asked for just before."""

    async def must_be_unknown(name: str) -> None:
        for _ in range(2):
            with pytest.raises(ModelNotFoundError):
                await db.models.get_by_name(name)

    for name in ("created", "renamed", "alias", "renamed alias", "enabled"):
        await must_be_unknown(name)
    created = await db.models.create(Model(name="created"))
    assert (await db.models.get_by_name("created")).id == created.id
    for name in ("renamed", "alias", "renamed alias", "enabled"):
        await must_be_unknown(name)
    await db.models.update(Model(id=created.id, name="renamed"))
    assert (await db.models.get_by_name("renamed")).id == created.id
    await must_be_unknown("alias")
    alias = await db.model_aliases.create(ModelAlias(alias="alias", model_id=model.id))
    assert (await db.models.get_by_name("alias")).id == model.id
    await must_be_unknown("renamed alias")
    await db.model_aliases.update(ModelAlias(id=alias.id, alias="renamed alias", model_id=model.id))
    assert (await db.models.get_by_name("renamed alias")).id == model.id
    await must_be_unknown("alias")
    await db.model_aliases.update(ModelAlias(id=alias.id, alias="enabled", model_id=model.id, enabled=False))
    await must_be_unknown("enabled")
    await db.model_aliases.update(ModelAlias(id=alias.id, alias="enabled", model_id=model.id))
    assert (await db.models.get_by_name("enabled")).id == model.id


async def test_what_was_probably_meant_is_looked_for_once(db: Database, model: Model, statements: list[str]) -> None:
    with pytest.raises(ModelNotFoundError) as first:
        await db.models.get_by_name("gtp-4")
    statements.clear()
    with pytest.raises(ModelNotFoundError) as again:
        await db.models.get_by_name("gtp-4")
    assert (first.value.suggestions, str(again.value)) == (("gpt-4",), str(first.value))
    assert again.value.suggestions == first.value.suggestions
    assert statements == []


@pytest.fixture
async def used(db: Database) -> list[APIKey]:
    """Ten keys and ten models; the first were used last, the last two of each never."""
    keys = await make_keys(db, 10)
    models = await db.models.create_many([Model(name=f"model {n}") for n in range(10)])
    await db.model_aliases.create(ModelAlias(alias="alias 0", model_id=models[0].id))
    await db.model_aliases.create(ModelAlias(alias="off", model_id=models[0].id, enabled=False))
    await db.usage.create_many(
        [
            UsageRecord(api_key_id=key.id, model_id=model.id, request_timestamp=START - timedelta(hours=number))
            for number, (key, model) in enumerate(zip(keys[:8], models[:8], strict=True))
        ]
    )
    return keys


async def test_warming_loads_what_was_used_last(
    used: list[APIKey], make_database: MakeDatabase, clock: ManualClock, statements: list[str]
) -> None:
    db = await make_database(clock=clock)
    assert await db.warm() == (8, 9)
    statements.clear()
    for key in used[:8]:
        assert await db.api_keys.get_by_hash(key.key_hash) == key
    for name in ("alias 0", *(f"model {number}" for number in range(8))):
        await db.models.get_by_name(name)
    assert statements == []
    assert (db.stats().api_key_cache.misses, db.stats().api_key_cache.hits) == (0, 8)
    assert await db.warm() == (0, 0)


async def test_warming_is_bounded_and_evicts_nothing(
    used: list[APIKey], make_database: MakeDatabase, clock: ManualClock
) -> None:
    db = await make_database(clock=clock, api_key_cache_size=4, model_cache_size=3)
    await db.api_keys.get_by_hash(used[9].key_hash)
    warmed = await db.warm(limit=3)
    assert (warmed.api_keys, warmed.models) == (3, 3)
    assert set(db.api_keys._cache.live) == {used[number].key_hash for number in (9, 0, 1, 2)}
    assert set(db.models._cache.live) == {"model 0", "alias 0", "model 1"}
    assert db.stats().api_key_cache.evictions == 0
    assert await db.warm() == (0, 0)


async def test_warming_refuses_a_limit_that_is_none(db: Database) -> None:
    for limit in (-1, "many", True):
        with pytest.raises(InvalidValueError, match="limit"):
            await db.warm(limit)  # type: ignore[arg-type]


async def test_warming_looks_at_the_last_two_days_of_use(db: Database) -> None:
    keys = await make_keys(db, 4)
    models = await db.models.create_many([Model(name=f"model {n}") for n in range(4)])
    days_ago = (9, 2, 90, 9)
    for key, model, days in zip(keys, models, days_ago, strict=True):
        at = START - timedelta(days=days)
        await db.usage.create(UsageRecord(api_key_id=key.id, model_id=model.id, request_timestamp=at))
    assert await db.warm() == (3, 3)
    assert keys[2].key_hash not in db.api_keys._cache.live
    assert set(db.models._cache.live) == {"model 0", "model 1", "model 3"}


async def test_warming_knows_a_model_by_the_name_that_was_asked_for(db: Database, api_key: APIKey) -> None:
    models = await db.models.create_many([Model(name=f"model {n}") for n in range(3)])
    await db.model_aliases.create(ModelAlias(alias="alias 1", model_id=models[1].id))
    for name in ("model 0", "alias 1", "nothing", None):
        await db.usage.create(UsageRecord(api_key_id=api_key.id, model_name=name, request_timestamp=START))
    assert (await db.warm()).models == 3
    assert set(db.models._cache.live) == {"model 0", "model 1", "alias 1"}
