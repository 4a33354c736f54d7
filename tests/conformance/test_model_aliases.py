import asyncio

import pytest
from msgspec.structs import replace

from gatewaydb import (
    AlreadyExistsError,
    Database,
    InvalidValueError,
    Model,
    ModelAlias,
    ModelAliasNotFoundError,
    ModelNotFoundError,
)
from gatewaydb.entities.base import new_id
from tests.clock import ManualClock
from tests.conftest import MakeDatabase


@pytest.fixture
async def alias(db: Database, model: Model) -> ModelAlias:
    return await db.model_aliases.create(ModelAlias(alias="fast ü", model_id=model.id, tags={"team": "ü", "empty": ""}))


async def test_an_alias_comes_back_as_it_went_in(db: Database, model: Model, alias: ModelAlias) -> None:
    assert (alias.model_id, alias.enabled, alias.tags) == (model.id, True, {"team": "ü", "empty": ""})
    assert await db.model_aliases.get_by_alias("fast ü") == alias
    assert await db.model_aliases.get_by_id(alias.id) == alias
    assert await db.model_aliases.list() == [alias]
    off = await db.model_aliases.create(ModelAlias(alias="off", model_id=model.id, enabled=False))
    assert await db.model_aliases.list_enabled() == [alias]
    assert await db.model_aliases.list() == [alias, off]


async def test_a_model_is_found_by_an_alias_only_while_it_is_enabled(
    db: Database, model: Model, alias: ModelAlias
) -> None:
    assert (await db.models.get_by_name("fast ü")).id == model.id
    await db.model_aliases.update(replace(alias, enabled=False))
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_name("fast ü")
    assert (await db.models.get_by_name("gpt-4")).aliases == ()
    await db.model_aliases.update(replace(alias, enabled=True))
    assert (await db.models.get_by_name("gpt-4")).aliases == ("fast ü",)


async def test_a_name_wins_over_an_alias(db: Database, model: Model, alias: ModelAlias) -> None:
    await db.models.get_by_name("fast ü")
    namesake = await db.models.create(Model(name="fast ü"))
    assert (await db.models.get_by_name("fast ü")).id == namesake.id
    await db.models.delete(namesake.id)
    assert (await db.models.get_by_name("fast ü")).id == model.id


async def test_an_alias_moves_to_another_model_at_once(db: Database, model: Model, alias: ModelAlias) -> None:
    other = await db.models.create(Model(name="other"))
    for name in ("gpt-4", "other", "fast ü"):
        await db.models.get_by_name(name)
    await db.model_aliases.update(replace(alias, model_id=other.id))
    assert (await db.models.get_by_name("fast ü")).id == other.id
    assert (await db.models.get_by_name("gpt-4")).aliases == ()
    assert (await db.models.get_by_name("other")).aliases == ("fast ü",)


async def test_update_stores_everything_but_the_tags(
    make_database: MakeDatabase, clock: ManualClock, alias: ModelAlias
) -> None:
    db = await make_database(clock=clock)
    clock.advance(60)
    changed = await db.model_aliases.update(replace(alias, alias="quick", enabled=False, tags={"other": "x"}))
    assert changed == replace(alias, alias="quick", enabled=False, updated_at=clock.now())
    with pytest.raises(ModelAliasNotFoundError):
        await db.model_aliases.get_by_alias("fast ü")


async def test_tags_are_set_changed_and_removed_one_by_one(db: Database, alias: ModelAlias) -> None:
    await db.model_aliases.set_tag(alias.id, "team", "b")
    await db.model_aliases.set_tag(alias.id, "new", "")
    await db.model_aliases.delete_tag(alias.id, "empty")
    await db.model_aliases.delete_tag(alias.id, "never there")
    assert (await db.model_aliases.get_by_alias("fast ü")).tags == {"team": "b", "new": ""}


async def test_tags_set_at_once_are_all_there(db: Database, alias: ModelAlias) -> None:
    numbers = [str(number) for number in range(20)]
    await asyncio.gather(*(db.model_aliases.set_tag(alias.id, number, number) for number in numbers))
    tags = (await db.model_aliases.get_by_id(alias.id)).tags
    assert {number: number for number in numbers}.items() <= tags.items()


async def test_a_deleted_alias_is_gone_with_its_tags(db: Database, alias: ModelAlias) -> None:
    await db.models.get_by_name("fast ü")
    await db.model_aliases.delete(alias.id)
    with pytest.raises(ModelNotFoundError):
        await db.models.get_by_name("fast ü")
    async with db.transaction() as tx:
        assert await tx.fetch("SELECT * FROM model_alias_tags") == []


async def test_an_alias_is_unique_and_its_model_exists(db: Database, model: Model, alias: ModelAlias) -> None:
    other = await db.model_aliases.create(ModelAlias(alias="other", model_id=model.id))
    for write in (
        db.model_aliases.create(ModelAlias(alias="fast ü", model_id=model.id)),
        db.model_aliases.update(replace(other, alias="fast ü")),
    ):
        with pytest.raises(AlreadyExistsError, match="alias"):
            await write
    for write in (
        db.model_aliases.create(ModelAlias(alias="new", model_id=new_id())),
        db.model_aliases.update(replace(other, model_id=new_id())),
    ):
        with pytest.raises(InvalidValueError, match="does not exist"):
            await write
    assert await db.model_aliases.list() == [alias, other]


async def test_what_does_not_exist_cannot_be_changed(db: Database, model: Model) -> None:
    ghost = ModelAlias(alias="ghost", model_id=model.id)
    for call in (
        db.model_aliases.get_by_alias("ghost"),
        db.model_aliases.get_by_id(ghost.id),
        db.model_aliases.update(ghost),
        db.model_aliases.delete(ghost.id),
        db.model_aliases.set_tag(ghost.id, "a", "b"),
        db.model_aliases.delete_tag(ghost.id, "a"),
    ):
        with pytest.raises(ModelAliasNotFoundError):
            await call
