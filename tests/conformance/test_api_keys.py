import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256

import pytest
from msgspec.structs import replace

from gatewaydb import (
    AlreadyExistsError,
    APIKey,
    APIKeyDisabledError,
    APIKeyExpiredError,
    APIKeyNotFoundError,
    Database,
    Model,
    ModelAlias,
)
from gatewaydb.entities.base import new_id
from tests.clock import ManualClock
from tests.conftest import MakeDatabase

HASH = "a" * 64
WHOLE = APIKey(
    name="Prod 🔑 naïve 日本",
    key_hash=HASH,
    allowed_models=("gpt-4", "openai/*", "o'brien\"\\", "gpt-4"),
    rate_limit_per_minute=60,
    monthly_budget_usd=Decimal("1000.000000000001"),
    enabled=False,
    expires_at=datetime(2027, 1, 1, 0, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    metadata={"tag": {"environment": "production", "empty": ""}, "owner": {"email": "ü@example.com\n"}},
)


@pytest.mark.parametrize("key", [WHOLE, APIKey(name="bare", key_hash=HASH)], ids=["whole", "bare"])
async def test_a_key_comes_back_as_it_went_in(db: Database, key: APIKey) -> None:
    created = await db.api_keys.create(key)
    assert replace(created, created_at=None, updated_at=None) == key
    assert await db.api_keys.get_by_hash(HASH) == created
    assert await db.api_keys.get_by_id(key.id) == created
    assert await db.api_keys.get_by_name(key.name) == [created]
    assert await db.api_keys.list() == [created]


async def test_creation_stamps_the_key_by_the_clock(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    key = await db.api_keys.create(WHOLE)
    assert key.created_at == key.updated_at == clock.now()
    clock.advance(1.000001)
    changed = await db.api_keys.update(replace(key, name="other"))
    assert (changed.created_at, changed.updated_at) == (key.created_at, clock.now())


async def test_issue_gives_the_secret_once_and_stores_only_its_hash(db: Database) -> None:
    budget, expiry = Decimal("12.5"), datetime(2100, 1, 1, tzinfo=UTC)
    key, secret = await db.api_keys.issue(
        "prod",
        allowed_models=["gpt-4"],
        rate_limit_per_minute=5,
        monthly_budget_usd=budget,
        expires_at=expiry,
        metadata={"tag": {"env": "prod"}},
    )
    assert secret.startswith("sk-")
    assert len(secret) == 46
    assert key.key_hash == sha256(secret.encode()).hexdigest()
    assert (key.allowed_models, key.rate_limit_per_minute, key.monthly_budget_usd) == (("gpt-4",), 5, budget)
    assert (key.expires_at, key.metadata, key.enabled) == (expiry, {"tag": {"env": "prod"}}, True)
    async with db.transaction() as tx:
        stored = str(await tx.fetch("SELECT * FROM api_keys")) + str(await tx.fetch("SELECT * FROM api_key_metadata"))
    assert secret not in stored
    assert secret not in repr(key)
    assert await db.api_keys.authenticate(secret) == key


async def test_two_secrets_are_never_alike(db: Database) -> None:
    secrets = {(await db.api_keys.issue("prod"))[1] for _ in range(20)}
    assert len(secrets) == 20


@pytest.mark.parametrize("secret", ["sk-unknown", "", "🔑", "half a pair: \ud800", "NUL: \0", "x" * 100_000])
async def test_an_unknown_secret_is_not_found(db: Database, secret: str) -> None:
    with pytest.raises(APIKeyNotFoundError) as caught:
        await db.api_keys.authenticate(secret)
    assert len(secret) < 2 or secret not in str(caught.value)


async def test_a_disabled_key_is_refused_at_once(db: Database) -> None:
    key, secret = await db.api_keys.issue("prod")
    await db.api_keys.authenticate(secret)
    await db.api_keys.set_enabled(key.id, False)
    with pytest.raises(APIKeyDisabledError, match="prod"):
        await db.api_keys.authenticate(secret)
    await db.api_keys.set_enabled(key.id, True)
    assert (await db.api_keys.authenticate(secret)).enabled


async def test_an_expiry_is_judged_by_the_clock_of_now(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    _, secret = await db.api_keys.issue("prod", expires_at=clock.now() + timedelta(seconds=10))
    clock.advance(9.999)
    await db.api_keys.authenticate(secret)
    clock.advance(0.001)
    with pytest.raises(APIKeyExpiredError, match="prod"):
        await db.api_keys.authenticate(secret)
    assert db.stats().api_key_cache.hits == 1


async def test_a_deleted_key_is_gone_with_its_metadata(db: Database) -> None:
    key, secret = await db.api_keys.issue("prod", metadata={"tag": {"a": "b"}})
    await db.api_keys.authenticate(secret)
    await db.api_keys.delete(key.id)
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.authenticate(secret)
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_id(key.id)
    async with db.transaction() as tx:
        assert await tx.fetch("SELECT * FROM api_key_metadata") == []


async def test_a_new_key_is_found_though_it_was_asked_for_before(db: Database) -> None:
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_hash(HASH)
    created = await db.api_keys.create(WHOLE)
    assert await db.api_keys.get_by_hash(HASH) == created


async def test_update_stores_every_field_and_leaves_the_metadata(db: Database) -> None:
    key = await db.api_keys.create(APIKey(name="bare", key_hash=HASH, metadata={"a": {"b": "c"}}))
    wanted = replace(WHOLE, id=key.id, metadata={"other": {"x": "y"}})
    changed = await db.api_keys.update(wanted)
    assert changed == replace(wanted, metadata=key.metadata, created_at=key.created_at, updated_at=changed.updated_at)
    assert await db.api_keys.get_by_hash(HASH) == changed


async def test_a_new_hash_ends_the_old_one(db: Database) -> None:
    key, secret = await db.api_keys.issue("prod")
    await db.api_keys.authenticate(secret)
    await db.api_keys.update(replace(key, key_hash=HASH))
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.authenticate(secret)
    assert (await db.api_keys.get_by_hash(HASH)).id == key.id


async def test_metadata_is_set_changed_and_removed_one_by_one(db: Database) -> None:
    key = await db.api_keys.create(replace(WHOLE, metadata={}))
    for kind, name, value in [("tag", "env", "dev"), ("tag", "env", "prod"), ("tag", "b", "ü"), ("owner", "env", "me")]:
        await db.api_keys.set_metadata(key.id, kind, name, value)
    assert (await db.api_keys.get_by_hash(HASH)).metadata == {"tag": {"env": "prod", "b": "ü"}, "owner": {"env": "me"}}
    await db.api_keys.delete_metadata(key.id, "tag", "env")
    await db.api_keys.delete_metadata(key.id, "owner", "env")
    await db.api_keys.delete_metadata(key.id, "owner", "never there")
    assert (await db.api_keys.get_by_hash(HASH)).metadata == {"tag": {"b": "ü"}}


async def test_metadata_set_at_once_is_all_there(db: Database, api_key: APIKey) -> None:
    numbers = [str(number) for number in range(20)]
    await asyncio.gather(*(db.api_keys.set_metadata(api_key.id, "tag", number, number) for number in numbers))
    assert (await db.api_keys.get_by_id(api_key.id)).metadata == {"tag": {number: number for number in numbers}}


async def test_what_does_not_exist_cannot_be_changed(db: Database) -> None:
    ghost = new_id()
    for change in (
        db.api_keys.get_by_id(ghost),
        db.api_keys.update(WHOLE),
        db.api_keys.delete(ghost),
        db.api_keys.set_enabled(ghost, True),
        db.api_keys.set_metadata(ghost, "tag", "a", "b"),
        db.api_keys.delete_metadata(ghost, "tag", "a"),
    ):
        with pytest.raises(APIKeyNotFoundError):
            await change
    assert await db.api_keys.list() == []
    assert await db.api_keys.get_by_name("nobody") == []


async def test_a_hash_and_an_id_are_unique_and_a_name_is_not(db: Database) -> None:
    key, _ = await db.api_keys.issue("prod", metadata={"tag": {"a": "b"}})
    for twin in (replace(WHOLE, key_hash=key.key_hash), replace(WHOLE, id=key.id)):
        with pytest.raises(AlreadyExistsError) as caught:
            await db.api_keys.create(twin)
        assert key.key_hash not in str(caught.value)
    other = await db.api_keys.create(replace(WHOLE, name="prod"))
    with pytest.raises(AlreadyExistsError):
        await db.api_keys.update(replace(other, key_hash=key.key_hash))
    assert [found.id for found in await db.api_keys.get_by_name("prod")] == [other.id, key.id]
    assert (await db.api_keys.get_by_id(other.id)) == other


async def test_a_cached_key_is_one_immutable_value(db: Database, statements: list[str]) -> None:
    await db.api_keys.create(WHOLE)
    statements.clear()
    first = await db.api_keys.get_by_hash(HASH)
    assert await db.api_keys.get_by_hash(HASH) is first
    assert len(statements) == 1
    with pytest.raises(AttributeError):
        first.enabled = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        first.metadata["tag"]["environment"] = "dev"  # type: ignore[index]
    stats = db.stats().api_key_cache
    assert (stats.hits, stats.misses, stats.size, stats.hit_rate) == (1, 1, 1, 0.5)


async def test_concurrent_misses_ask_once(db: Database, statements: list[str]) -> None:
    await db.api_keys.create(WHOLE)
    statements.clear()
    found = await asyncio.gather(*(db.api_keys.get_by_hash(HASH) for _ in range(50)))
    # SQLite's point reads do not wait, so that there is nobody to share with; the first one fills the cache.
    assert len(statements) == 1
    assert all(key is found[0] for key in found)


async def test_after_a_change_from_outside_the_cache_is_told(db: Database, make_database: MakeDatabase) -> None:
    key = await db.api_keys.create(WHOLE)
    await db.api_keys.get_by_hash(HASH)
    other = await make_database()
    async with other.transaction() as tx:
        await tx.execute("UPDATE api_keys SET name = $1 WHERE key_hash = $2", "renamed", HASH)
    db.api_keys.invalidate_cache(HASH)
    assert (await db.api_keys.get_by_hash(HASH)).name == "renamed"
    assert key.name == WHOLE.name


async def test_a_key_allows_names_aliases_and_patterns(db: Database, model: Model) -> None:
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=model.id))
    key, _ = await db.api_keys.issue("prod", allowed_models=["fast", "openai/*"])
    cached = await db.models.get_by_name("gpt-4")
    assert key.allows_model(cached)
    assert not key.allows_model("gpt-4")
    assert key.allows_model("openai/o3")
    assert not key.allows_model("openai")


async def test_an_invalidation_is_done_when_it_returns_and_may_be_awaited(db: Database, api_key: APIKey) -> None:
    await db.api_keys.get_by_hash(api_key.key_hash)
    await db.api_keys.invalidate_cache(api_key.key_hash)
    db.api_keys.invalidate_cache(api_key.key_hash)
    assert db.stats().api_key_cache.size == 0


async def test_a_key_is_found_by_the_beginning_of_its_hash(db: Database) -> None:
    for key_hash in ("abc1", "abc2", "abd1"):
        await db.api_keys.create(APIKey(name=key_hash, key_hash=key_hash))
    assert [key.name for key in await db.api_keys.get_by_hash_prefix("abc")] == ["abc1", "abc2"]
    assert [key.name for key in await db.api_keys.get_by_hash_prefix("abc", limit=1)] == ["abc1"]
    assert list(await db.api_keys.get_by_hash_prefix("b")) == []


async def test_contents_count_what_is_there(db: Database, api_key: APIKey) -> None:
    contents = await db.contents()
    assert contents.rows["api_keys"] == 1
    assert contents.rows["usage_records"] == 0
    assert contents.size_bytes > 0
