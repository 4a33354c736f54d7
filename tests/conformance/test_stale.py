"""While the database is down, what has expired goes on serving. What is down here is the engine's way to it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest

from gatewaydb import (
    APIKey,
    APIKeyDisabledError,
    APIKeyExpiredError,
    APIKeyNotFoundError,
    Database,
    DatabaseUnavailableError,
    GatewayDBError,
    Model,
    QueryTimeoutError,
)
from tests.clock import START, ManualClock, until
from tests.conftest import MakeDatabase

Break = Callable[[Exception], None]


@pytest.fixture
async def db(make_database: MakeDatabase, clock: ManualClock) -> Database:
    return await make_database(clock=clock)


@pytest.fixture
def break_down(db: Database, monkeypatch: pytest.MonkeyPatch) -> Break:
    """Makes every read outside of transactions fail."""

    def break_down(error: Exception) -> None:
        for name in ("fetch_one", "fetch_all"):
            monkeypatch.setattr(db._engine, name, AsyncMock(side_effect=error))

    return break_down


@pytest.fixture
async def expired(db: Database, model: Model, clock: ManualClock) -> tuple[APIKey, str]:
    """A key and its secret; it and the model `gpt-4` were cached and have expired just now."""
    key, secret = await db.api_keys.issue("caller")
    await db.api_keys.authenticate(secret)
    await db.models.get_by_name("gpt-4")
    clock.advance(600)
    await db.api_keys.authenticate(secret)
    clock.advance(300)
    return key, secret


GONE = [DatabaseUnavailableError("gone"), QueryTimeoutError("slow")]


@pytest.mark.parametrize("error", GONE)
async def test_what_has_expired_goes_on_serving_for_stale_if_error(
    db: Database, model: Model, expired: tuple[APIKey, str], break_down: Break, clock: ManualClock, error: Exception
) -> None:
    key, secret = expired
    break_down(error)
    assert db.stats().api_key_cache.size == 0, "a cleanup takes it out, and leaves it as a spare"
    assert await db.api_keys.authenticate(secret) == key
    assert await db.api_keys.get_by_hash(key.key_hash) == key
    assert db.stats().api_key_cache.stale_served == 2
    clock.advance(299)
    assert await db.api_keys.authenticate(secret) == key
    clock.advance(1)
    with pytest.raises((DatabaseUnavailableError, QueryTimeoutError)):
        await db.api_keys.authenticate(secret)


async def test_models_go_on_serving_too(
    db: Database, model: Model, expired: tuple[APIKey, str], break_down: Break
) -> None:
    break_down(GONE[0])
    assert await db.models.get_by_name("gpt-4") == model
    with pytest.raises(DatabaseUnavailableError):
        await db.models.get_by_name("gpt-5")
    assert db.stats().model_cache.stale_served == 1


async def test_stale_if_error_0_switches_it_off(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock, stale_if_error="0s")
    key, _ = await db.api_keys.issue("caller")
    await db.api_keys.get_by_hash(key.key_hash)
    clock.advance(300)
    await db.close()
    with pytest.raises(DatabaseUnavailableError):
        await db.api_keys.get_by_hash(key.key_hash)


async def test_no_other_error_is_covered(db: Database, expired: tuple[APIKey, str], break_down: Break) -> None:
    break_down(GatewayDBError("a bug"))
    with pytest.raises(GatewayDBError, match="a bug"):
        await db.api_keys.authenticate(expired[1])


async def test_a_verdict_never_softens(db: Database, clock: ManualClock, break_down: Break) -> None:
    disabled, disabled_secret = await db.api_keys.issue("disabled")
    _, ending_secret = await db.api_keys.issue("ending", expires_at=START + timedelta(seconds=400))
    deleted, deleted_secret = await db.api_keys.issue("deleted")
    await db.api_keys.set_enabled(disabled.id, False)
    for secret in (disabled_secret, ending_secret, deleted_secret):
        await asyncio.gather(db.api_keys.authenticate(secret), return_exceptions=True)
    clock.advance(300)
    await db.api_keys.delete(deleted.id)
    break_down(GONE[0])
    with pytest.raises(APIKeyDisabledError):
        await db.api_keys.authenticate(disabled_secret)
    await db.api_keys.authenticate(ending_secret)
    clock.advance(100)
    with pytest.raises(APIKeyExpiredError):
        await db.api_keys.authenticate(ending_secret)
    with pytest.raises(DatabaseUnavailableError):
        await db.api_keys.authenticate(deleted_secret)


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda db, key: db.api_keys.invalidate_cache(key.key_hash),
        lambda db, key: db.api_keys.apply_change(frozenset([key.key_hash])),
        lambda db, key: db.api_keys.apply_change(None),
    ],
)
async def test_what_was_invalidated_meanwhile_is_gone(
    db: Database, expired: tuple[APIKey, str], break_down: Break, invalidate: Callable[[Database, APIKey], Any]
) -> None:
    break_down(GONE[0])
    await db.api_keys.authenticate(expired[1])
    invalidate(db, expired[0])
    with pytest.raises(DatabaseUnavailableError):
        await db.api_keys.authenticate(expired[1])


async def test_what_changed_meanwhile_is_honoured_when_the_database_is_back(
    db: Database,
    expired: tuple[APIKey, str],
    break_down: Break,
    make_database: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    clock: ManualClock,
) -> None:
    key, secret = expired
    break_down(GONE[0])
    assert await db.api_keys.authenticate(secret) == key
    await (await make_database()).api_keys.set_enabled(key.id, False)
    monkeypatch.undo()
    clock.advance(1)
    await until(lambda: not any(reader.breaker.is_open for reader in db._engine._readers))
    with pytest.raises(APIKeyDisabledError):
        await db.api_keys.authenticate(secret)


async def test_unavailable_is_never_not_found(db: Database, break_down: Break, clock: ManualClock) -> None:
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_hash("made up")
    break_down(GONE[0])
    clock.advance(5)
    with pytest.raises(DatabaseUnavailableError):
        await db.api_keys.get_by_hash("made up")


async def test_an_outage_is_a_line_in_the_log_once_a_minute(
    db: Database, expired: tuple[APIKey, str], break_down: Break, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    break_down(GONE[0])
    for _ in range(100):
        await db.api_keys.authenticate(expired[1])
        clock.advance(1)
    assert len(caplog.records) == 2
    assert caplog.messages[0].startswith("the database is down, expired API keys go on serving: ")
    assert expired[0].key_hash not in caplog.text
