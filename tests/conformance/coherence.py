"""What the tests of changes by others share: what they begin with, and ways to look and wait."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from gatewaydb import (
    APIKey,
    APIKeyNotFoundError,
    Database,
    DatabaseConfig,
    Model,
    ModelAlias,
    ModelNotFoundError,
)
from gatewaydb.database import DatabaseTransaction
from tests.clock import until
from tests.conftest import MakeDatabase
from tests.postgres_server import RunningPostgres

PRICES = {"input_cost_per_token": "0.00003"}


@pytest.fixture
async def elsewhere(make_database: MakeDatabase) -> Database:
    """Another process."""
    return await make_database()


@pytest.fixture
def sql(request: pytest.FixtureRequest, config: DatabaseConfig) -> Callable[[str], None]:
    """Runs SQL as an operator would: with psql, or in SQLite's shell."""
    assert config.url is not None
    url = config.url

    def run(statement: str) -> None:
        if config.is_sqlite:
            connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            connection.executescript(statement)
            connection.close()
        else:
            postgres: RunningPostgres = request.getfixturevalue("postgres")
            postgres.psql(statement, urlsplit(url).path[1:])

    return run


class Stored(NamedTuple):
    """What is in the database, and in the caches of `db`."""

    key: APIKey
    model: Model
    other: Model
    alias: ModelAlias
    quiet: APIKey


@pytest.fixture
async def stored(db: Database, elsewhere: Database) -> Stored:
    """Made elsewhere; one key of it is never changed."""
    key = await elsewhere.api_keys.create(APIKey(name="key", key_hash="hash", metadata={"owner": {"team": "a"}}))
    quiet = await elsewhere.api_keys.create(APIKey(name="quiet", key_hash="quiet"))
    model = await elsewhere.models.create(Model(name="model", prices=PRICES))
    other = await elsewhere.models.create(Model(name="other"))
    alias = await elsewhere.model_aliases.create(ModelAlias(alias="alias", model_id=model.id))
    await all_is_seen(db)
    for key_hash in ("hash", "quiet"):
        await db.api_keys.get_by_hash(key_hash)
    for name in ("model", "other", "alias"):
        await db.models.get_by_name(name)
    return Stored(key, model, other, alias, quiet)


async def all_is_seen(db: Database) -> None:
    """Returns when the log was read after now; with LISTEN, messages have come by then."""
    for _ in range(2):
        await when_looked(db)


async def read(db: Database, key_hash: str) -> APIKey | None:
    try:
        return await db.api_keys.get_by_hash(key_hash)
    except APIKeyNotFoundError:
        return None


async def read_model(db: Database, name: str) -> Model | None:
    try:
        return await db.models.get_by_name(name)
    except ModelNotFoundError:
        return None


async def holds(reading: Awaitable[Any], expected: Any) -> bool:
    return bool(await reading == expected)


async def enabled(db: Database, key_hash: str) -> bool:
    return (await db.api_keys.get_by_hash(key_hash)).enabled


async def undone(db: Database | DatabaseTransaction, write: Callable[[DatabaseTransaction], Awaitable[Any]]) -> None:
    """A write in a transaction, or under a savepoint of one, that fails in the end."""
    with suppress(ZeroDivisionError):
        async with db.transaction() as tx:
            await write(tx)
            raise ZeroDivisionError


async def when_looked(db: Database) -> None:
    polls = db.stats().change_feed.polls
    await until(lambda: db.stats().change_feed.polls > polls)
