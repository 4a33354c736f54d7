import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from gatewaydb import (
    AlreadyExistsError,
    ConfigurationError,
    Database,
    InvalidValueError,
    Model,
    Provider,
    ProviderNotFoundError,
    StillReferencedError,
)
from gatewaydb.entities.base import new_id
from tests.clock import ManualClock
from tests.conftest import ENCRYPTION_KEY, MakeDatabase

SECRET = "sk-very-secret-ü"
CREDENTIALS = {"api_key": SECRET, "nested": {"region": "eu", "list": [1, 2.5, None, True]}}
WHOLE = Provider(
    name="openai ü",
    api_base="https://api.openai.com/v1",
    enabled=False,
    metadata={"a": [1, {"b": None}]},
    credentials=CREDENTIALS,
)


async def _stored(db: Database) -> list[bytes | None]:
    async with db.transaction() as tx:
        return [row["credentials"] for row in await tx.fetch("SELECT credentials FROM providers ORDER BY name")]


@pytest.mark.parametrize("provider", [WHOLE, Provider(name="bare")], ids=["whole", "bare"])
async def test_a_provider_comes_back_as_it_went_in_but_for_its_credentials(db: Database, provider: Provider) -> None:
    created = await db.providers.create(provider)
    has_credentials = provider.credentials is not None
    wanted = replace(provider.checked(), credentials=None, has_credentials=has_credentials)
    assert replace(created, created_at=None, updated_at=None) == wanted
    assert await db.providers.get_by_id(provider.id) == created
    assert await db.providers.get_by_name(provider.name) == created
    assert await db.providers.list() == [created]
    assert await db.providers.list_enabled() == ([created] if provider.enabled else [])
    assert await db.providers.get_credentials(provider.id) == provider.credentials


async def test_credentials_are_encrypted_at_rest(db: Database) -> None:
    await db.providers.create(WHOLE)
    (token,) = await _stored(db)
    assert token is not None
    assert SECRET.encode() not in token
    assert b"api_key" not in token
    assert Fernet(ENCRYPTION_KEY).decrypt(token)


async def test_credentials_show_in_no_repr_and_no_error(db: Database) -> None:
    await db.providers.create(WHOLE)
    with pytest.raises(AlreadyExistsError) as duplicate:
        await db.providers.create(replace(WHOLE, id=new_id()))
    with pytest.raises(InvalidValueError) as invalid:
        await db.providers.create(replace(WHOLE, name="x" * 300))
    with pytest.raises(InvalidValueError) as unstorable:
        await db.providers.create(Provider(name="a", credentials={"api_key": SECRET, "b": object()}))
    shown = [repr(WHOLE), str(WHOLE), f"{[WHOLE]}", duplicate, invalid, unstorable, duplicate.value.__context__]
    assert all(SECRET not in str(each) and SECRET not in repr(each) for each in shown)
    assert ENCRYPTION_KEY not in repr(db.config)


async def test_update_keeps_the_credentials_unless_there_are_new_ones(
    make_database: MakeDatabase, clock: ManualClock
) -> None:
    db = await make_database(clock=clock)
    created = await db.providers.create(WHOLE)
    clock.advance(60)
    changed = await db.providers.update(replace(created, name="other", enabled=True, metadata={}, api_base=None))
    wanted = replace(created, name="other", enabled=True, metadata={}, api_base=None, updated_at=clock.now())
    assert changed == wanted
    assert await db.providers.get_credentials(WHOLE.id) == CREDENTIALS
    await db.providers.update(replace(changed, credentials={"api_key": "new"}))
    assert await db.providers.get_credentials(WHOLE.id) == {"api_key": "new"}


async def test_credentials_are_replaced_and_removed(db: Database) -> None:
    await db.providers.create(WHOLE)
    await db.providers.set_credentials(WHOLE.id, {"token": "x"})
    assert await db.providers.get_credentials(WHOLE.id) == {"token": "x"}
    await db.providers.set_credentials(WHOLE.id, None)
    assert await db.providers.get_credentials(WHOLE.id) is None
    assert not (await db.providers.get_by_id(WHOLE.id)).has_credentials


async def test_rotation_moves_all_credentials_to_the_new_key(make_database: MakeDatabase) -> None:
    new_key = Fernet.generate_key().decode()
    old = await make_database()
    await old.providers.create(WHOLE)
    await old.providers.create(Provider(name="bare"))
    both = await make_database(encryption_keys=f"{new_key}, {ENCRYPTION_KEY}")
    assert await both.providers.get_credentials(WHOLE.id) == CREDENTIALS
    assert await both.providers.rotate_credentials() == 1
    only_new = await make_database(encryption_keys=new_key)
    assert await only_new.providers.get_credentials(WHOLE.id) == CREDENTIALS
    with pytest.raises(ConfigurationError, match="encryption_keys"):
        await old.providers.get_credentials(WHOLE.id)


async def test_rotation_is_all_or_nothing(make_database: MakeDatabase) -> None:
    first, second = (Fernet.generate_key().decode() for _ in range(2))
    await (await make_database(encryption_keys=first)).providers.create(replace(WHOLE, name="a"))
    await (await make_database(encryption_keys=second)).providers.create(replace(WHOLE, name="b", id=new_id()))
    db = await make_database(encryption_keys=f"{ENCRYPTION_KEY},{first}")
    before = await _stored(db)
    with pytest.raises(ConfigurationError, match="none of them fits"):
        await db.providers.rotate_credentials()
    assert await _stored(db) == before


async def test_without_a_key_there_are_no_credentials_and_everything_else_works(make_database: MakeDatabase) -> None:
    db = await make_database(encryption_keys=None)
    with pytest.raises(ConfigurationError, match="GATEWAYDB_ENCRYPTION_KEYS"):
        await db.providers.create(WHOLE)
    assert await db.providers.list() == []
    bare = await db.providers.create(Provider(name="bare"))
    assert await db.providers.get_credentials(bare.id) is None
    assert await db.providers.rotate_credentials() == 0


def test_a_broken_key_is_a_configuration_error_that_does_not_show_it() -> None:
    with pytest.raises(ConfigurationError, match="encryption_keys") as caught:
        Database(f"sqlite://?encryption_keys={SECRET}")
    assert SECRET not in str(caught.value)


async def test_a_provider_that_a_model_names_stays(db: Database) -> None:
    provider = await db.providers.create(Provider(name="ours"))
    model = await db.models.create(Model(name="gpt-4", provider_id=provider.id))
    with pytest.raises(StillReferencedError):
        await db.providers.delete(provider.id)
    await db.models.delete(model.id)
    await db.providers.delete(provider.id)
    assert await db.providers.list() == []


async def test_a_name_is_unique(db: Database) -> None:
    await db.providers.create(Provider(name="a"))
    other = await db.providers.create(Provider(name="b"))
    for write in (db.providers.create(Provider(name="a")), db.providers.update(replace(other, name="a"))):
        with pytest.raises(AlreadyExistsError, match="name"):
            await write


async def test_what_does_not_exist_cannot_be_changed(db: Database) -> None:
    ghost = Provider(name="ghost")
    for call in (
        db.providers.get_by_id(ghost.id),
        db.providers.get_by_name("ghost"),
        db.providers.get_credentials(ghost.id),
        db.providers.update(ghost),
        db.providers.update(replace(ghost, credentials={"a": "b"})),
        db.providers.set_credentials(ghost.id, {"a": "b"}),
        db.providers.delete(ghost.id),
    ):
        with pytest.raises(ProviderNotFoundError):
            await call
