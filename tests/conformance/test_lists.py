"""Paging, the same for every noun: by offset as in the guide, and by `after`, which no insert or delete upsets."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from gatewaydb import (
    APIKey,
    Database,
    Model,
    ModelAlias,
    NotFoundError,
    Provider,
    UsageRecord,
)
from gatewaydb.entities.base import new_id

KEY, MODEL, PROVIDER = new_id(), new_id(), new_id()
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=1)


class Listing(NamedTuple):
    """How to fill a list with rows 0, 1, ... in its own order, and how to read it."""

    make: Callable[[Database, int], Awaitable[Any]]
    read: Callable[..., Awaitable[Sequence[Any]]]
    delete: Callable[[Database, Any], Awaitable[None]] | None = None


def _key(db: Database, number: int) -> Awaitable[Any]:
    id_ = type(KEY)(int=KEY.int + 10 * number)
    return db.api_keys.create(APIKey(id=id_, name="k", key_hash=f"{number}", metadata={"n": {"n": str(number)}}))


def _model(db: Database, number: int) -> Awaitable[Any]:
    prices = {"input_cost_per_token": "0.1"}
    name = f"{number:03}"
    return db.models.create(Model(name=name, litellm_provider="x", provider_id=PROVIDER, prices=prices))


def _alias(db: Database, number: int) -> Awaitable[Any]:
    return db.model_aliases.create(ModelAlias(alias=f"{number:03}", model_id=MODEL, tags={"n": str(number)}))


def _provider(db: Database, number: int) -> Awaitable[Any]:
    return db.providers.create(Provider(name=f"{number:03}"))


def _record(db: Database, number: int) -> Awaitable[Any]:
    # Pairs share their timestamp: the id decides between them. The latest comes first.
    at = END - timedelta(minutes=1 + number // 2)
    id_ = type(KEY)(int=KEY.int - number)
    return db.usage.create(UsageRecord(id=id_, api_key_id=KEY, model_id=MODEL, request_timestamp=at))


LISTS = {
    "api_keys": Listing(_key, lambda db, **page: db.api_keys.list(**page), lambda db, row: db.api_keys.delete(row.id)),
    "models": Listing(_model, lambda db, **page: db.models.list(**page), lambda db, row: db.models.delete(row.id)),
    "models of a LiteLLM provider": Listing(_model, lambda db, **page: db.models.get_by_provider("x", **page)),
    "models of a provider": Listing(_model, lambda db, **page: db.models.get_by_provider(PROVIDER, **page)),
    "model_aliases": Listing(
        _alias, lambda db, **page: db.model_aliases.list(**page), lambda db, row: db.model_aliases.delete(row.id)
    ),
    "enabled model_aliases": Listing(_alias, lambda db, **page: db.model_aliases.list_enabled(**page)),
    "providers": Listing(
        _provider, lambda db, **page: db.providers.list(**page), lambda db, row: db.providers.delete(row.id)
    ),
    "enabled providers": Listing(_provider, lambda db, **page: db.providers.list_enabled(**page)),
    "usage of a key": Listing(_record, lambda db, **page: db.usage.get_by_api_key(KEY, START, END, **page)),
    "usage of a model": Listing(_record, lambda db, **page: db.usage.get_by_model(MODEL, START, END, **page)),
}


@pytest.fixture(params=LISTS)
def listing(request: pytest.FixtureRequest) -> Listing:
    return LISTS[request.param]


@pytest.fixture
async def rows(db: Database, listing: Listing) -> Sequence[Any]:
    """Every second row of seven; what the others would be goes between them."""
    if listing.make is _model:
        await db.providers.create(Provider(id=PROVIDER, name="p"))
    if listing.make is _alias:
        await db.models.create(Model(id=MODEL, name="m"))
    for number in (6, 0, 12, 4, 2, 10, 8):
        await listing.make(db, number)
    return await listing.read(db)


async def test_offsets_page_through_everything_in_order(db: Database, listing: Listing, rows: Sequence[Any]) -> None:
    assert len(rows) == 7
    pages = [await listing.read(db, limit=3, offset=offset) for offset in (0, 3, 6, 9, 2**53)]
    assert [len(page) for page in pages] == [3, 3, 1, 0, 0]
    assert [row for page in pages for row in page] == list(rows)


async def test_after_pages_through_everything_in_order(db: Database, listing: Listing, rows: Sequence[Any]) -> None:
    by_entity: list[Any] = list(await listing.read(db, limit=3))
    by_id = list(by_entity)
    while page := await listing.read(db, limit=3, after=by_entity[-1]):
        by_entity += page
    while page := await listing.read(db, limit=3, after=by_id[-1].id):
        by_id += page
    assert by_entity == by_id == list(rows)
    assert await listing.read(db, limit=3, offset=1, after=rows[1]) == rows[3:6]


async def test_after_is_not_upset_by_new_rows(db: Database, listing: Listing, rows: Sequence[Any]) -> None:
    for number in (1, 5, 11):
        await listing.make(db, number)
    everything = await listing.read(db)
    assert len(everything) == 10
    assert await listing.read(db, after=rows[2]) == everything[everything.index(rows[2]) + 1 :]


@pytest.mark.parametrize("listing", [name for name in LISTS if LISTS[name].delete], indirect=True)
async def test_after_is_not_upset_by_deleted_rows(db: Database, listing: Listing, rows: Sequence[Any]) -> None:
    assert listing.delete is not None
    for row in (rows[0], rows[2], rows[4]):
        await listing.delete(db, row)
    assert await listing.read(db, after=rows[2]) == [rows[3], rows[5], rows[6]]


async def test_after_an_id_that_names_nothing_is_an_error_or_a_place(
    db: Database, listing: Listing, rows: Sequence[Any]
) -> None:
    if listing.make is _key:
        assert await listing.read(db, after=new_id()) == []
    else:
        with pytest.raises(NotFoundError):
            await listing.read(db, after=new_id())


async def test_a_list_is_one_statement(
    db: Database, listing: Listing, rows: Sequence[Any], statements: list[str]
) -> None:
    statements.clear()
    await listing.read(db)
    assert len(statements) == 1


async def test_the_default_page_has_fifty_rows(db: Database) -> None:
    await db.models.create_many([Model(name=f"{number}") for number in range(60)])
    assert len(await db.models.list()) == 50
    assert len(await db.models.list(limit=10_000)) == 60
