"""Many records at once: the quick way in, which has to end as one by one would."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import Database, DatabaseTransaction, InvalidValueError, UsageRecord
from gatewaydb.entities.base import new_id
from tests.conftest import MakeDatabase

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=40)
EVER = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
KEYS = [new_id() for _ in range(5)]


def records(number: int, first: int = 0) -> list[UsageRecord]:
    """Over some days and months, of several keys and routes, some of them unpriced."""
    return [
        UsageRecord(
            api_key_id=KEYS[n % 5],
            model_name=f"model-{n % 3}",
            endpoint="/v1/chat/completions",
            request_timestamp=START + timedelta(minutes=30 * n),
            prompt_tokens=n,
            completion_tokens=1,
            cost_usd=None if n % 7 == 0 else Decimal(n).scaleb(-9),
            status_code=(200, 429, 500)[n % 3],
            request_id=f"request-{n}" if n % 2 else None,
            request_metadata={"n": n, "nested": {"list": [1, None, "\u2028"]}} if n % 4 == 0 else {},
        )
        for n in range(first, first + number)
    ]


@asynccontextmanager
async def undone(db: Database) -> AsyncIterator[DatabaseTransaction]:
    """A transaction that is rolled back."""
    with suppress(RuntimeError):
        async with db.transaction() as tx:
            yield tx
            raise RuntimeError


async def assert_adds_up(db: Database, expected: Sequence[UsageRecord]) -> None:
    """Records, daily and monthly sums, by key and exactly."""
    for key in KEYS:
        mine = [record for record in expected if record.api_key_id == key]
        cost = sum((record.cost_usd or Decimal(0) for record in mine), Decimal(0))
        totals = await db.usage.get_totals_by_api_key(key, START, END)
        assert (totals.requests, totals.cost_usd) == (len(mine), cost)
        assert totals.unpriced_requests == sum(record.cost_usd is None for record in mine)
        months = await db.monthly_summaries.get_by_api_key(key)
        assert sum(month.total_requests for month in months) == len(mine)
        assert sum(month.total_cost_usd for month in months) == cost
        stored = await db.usage.get_by_api_key(key, START, END, limit=10_000)
        assert Counter(record.id for record in stored) == Counter(record.id for record in mine)


async def test_what_is_loaded_comes_back_as_it_went_in(db: Database) -> None:
    loaded = records(1_200)
    assert await db.usage.create_many(loaded) == 1_200
    await assert_adds_up(db, loaded)
    for record in loaded[:60]:
        assert await db.usage.get_by_id(record.id) == record.checked()


CHARACTERS = [chr(code) for code in (*range(1, 0x180), 0x2028, 0xFEFF, 0x1F600)]
TEXTS = [f"a{before}{char}b" for char in CHARACTERS for before in ("", "\\", '"')] + [
    *(
        "null",
        "NULL",
        "\\N",
        "\\.",
        "a\n\\.\nb",
        "a]\n[b",
        '","',
        '"',
        "\\",
        "\\\\",
        "\\u0041",
        "\\u000a",
        "[",
        "'",
        "a\r\nb",
    )
]


async def test_any_text_is_loaded_as_it_is(db: Database) -> None:
    """In a column, and in JSON as key and value."""
    loaded = [
        replace(record, request_id=text, error_message=text, request_metadata={text: text, "in": {text: [text]}})
        for record, text in zip(records(len(TEXTS)), TEXTS, strict=True)
    ]
    assert await db.usage.create_many(loaded) == len(TEXTS)
    stored = {record.id: record async for record in db.usage.stream(*EVER)}
    for record in loaded:
        assert stored[record.id] == record.checked()


@pytest.mark.parametrize("number", [249, 250, 251, 499, 500])
async def test_loads_of_any_length_come_in_once(db: Database, number: int) -> None:
    """SQLite takes blocks of 250 and then the rest, in another way."""
    batch = records(number)
    await db.usage.create_many(batch[::2])
    assert await db.usage.create_many(batch) == number // 2
    await assert_adds_up(db, batch)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21])
async def test_a_load_that_is_cancelled_leaves_nothing(db: Database, turns: int) -> None:
    batch = records(2_000)
    loading = asyncio.create_task(db.usage.create_many(batch))
    for _ in range(turns):
        await asyncio.sleep(0)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await assert_adds_up(db, [])
    assert await db.usage.create_many(batch) == 2_000


async def test_a_load_and_single_records_are_stored_alike(db: Database) -> None:
    single, *loaded = records(400)
    await db.usage.create(single)
    await db.usage.create_many(loaded)
    twin = replace(single, id=new_id(), request_id="twin")
    await db.usage.create_many([twin, *(replace(record, id=new_id(), request_id=None) for record in loaded)])
    first, second = [await db.usage.get_by_id(id_) for id_ in (single.id, twin.id)]
    assert replace(second, id=first.id, request_id=first.request_id) == first


async def test_a_load_counts_what_was_new(db: Database) -> None:
    there = records(300)
    await db.usage.create_many(there[:150])
    await db.usage.create(there[299])
    assert await db.usage.create_many(there) == 149
    assert await db.usage.create_many(there) == 0
    await assert_adds_up(db, there)


async def test_a_request_id_counts_once_in_a_load_and_across_loads(db: Database) -> None:
    first = records(400)
    again = [replace(record, id=new_id()) for record in first]
    await db.usage.create_many(first)
    new = [record for record in again if record.request_id is None]
    assert await db.usage.create_many(again) == len(new)
    twice = [replace(record, request_id="the same") for record in records(300, first=400)]
    assert await db.usage.create_many(twice) == len(KEYS)


@pytest.mark.parametrize("place", [0, 299, 599])
async def test_one_bad_record_in_a_load_leaves_nothing(db: Database, place: int) -> None:
    batch = records(600)
    batch[place] = replace(batch[place], prompt_tokens=-1)
    with pytest.raises(InvalidValueError, match="prompt_tokens: must be from 0"):
        await db.usage.create_many(batch)
    await assert_adds_up(db, [])
    batch[place] = replace(batch[place], prompt_tokens=1)
    assert await db.usage.create_many(batch) == 600


async def test_ids_as_text_are_taken(db: Database) -> None:
    batch = records(300)
    texts = [replace(record, id=str(record.id).upper(), api_key_id=str(record.api_key_id)) for record in batch]
    assert await db.usage.create_many(texts) == 300
    assert await db.usage.create_many(batch) == 0
    await assert_adds_up(db, batch)


async def test_a_load_in_a_transaction_is_undone_with_it(db: Database) -> None:
    batch = records(600)
    await db.usage.create_many(batch[:10])
    async with undone(db) as tx:
        assert await tx.usage.create_many(batch) == 590
    await assert_adds_up(db, batch[:10])
    async with db.transaction() as tx:
        assert await tx.usage.create_many(batch) == 590
        assert (await tx.usage.get_by_id(batch[-1].id)).model_name == batch[-1].model_name
    await assert_adds_up(db, batch)


async def test_loads_and_single_records_of_the_same_keys_at_once(
    db: Database, make_database: MakeDatabase, dialect: str
) -> None:
    other = await make_database(query_timeout="60s")
    batch = records(1_500)
    loads = [batch[:1_000], batch[500:], batch[::-1][:800], batch[250:1_250]]
    writes = [each.usage.create_many(load) for each, load in zip((db, other) * 2, loads, strict=True)]
    counts = await asyncio.gather(*writes, *(db.usage.create(record) for record in batch[::10]))
    assert sum(count for count in counts if isinstance(count, int)) <= 1_500
    await assert_adds_up(db, batch)


async def test_names_are_stored_once(db: Database) -> None:
    await db.usage.create_many(records(600))
    async with db.transaction() as tx:
        [row] = await tx.fetch("SELECT count(*) AS routes FROM usage_routes")
    assert row["routes"] == 3


async def test_routes_survive_a_rollback_of_the_records_that_brought_them(db: Database) -> None:
    record = records(1)[0]
    async with undone(db) as tx:
        await tx.usage.create(record)
    await db.usage.create(record)
    assert (await db.usage.get_by_id(record.id)).endpoint == "/v1/chat/completions"


@pytest.mark.parametrize("hours", [0, 5, 24, 37])
async def test_totals_of_any_range_are_those_of_its_records(db: Database, hours: int) -> None:
    batch = records(300)
    await db.usage.create_many(batch)
    start = START + timedelta(hours=7)
    end = start + timedelta(hours=hours)
    for key in KEYS:
        mine = [r for r in batch if r.api_key_id == key and start <= r.request_timestamp < end]
        totals = await db.usage.get_totals_by_api_key(key, start, end)
        assert totals.requests == len(mine)
        assert totals.cost_usd == sum((record.cost_usd or Decimal(0) for record in mine), Decimal(0))
        assert totals.total_tokens == sum(record.prompt_tokens + 1 for record in mine)
    by_model = await db.usage.get_totals_by_key_and_model(start, end)
    assert sum(row.requests for row in by_model) == sum(start <= r.request_timestamp < end for r in batch)


@pytest.mark.parametrize(("start", "found"), [(EVER[0], 30), (START, 30), (EVER[1], 0)])
async def test_totals_up_to_the_ends_of_time(db: Database, start: datetime, found: int) -> None:
    await db.usage.create_many(records(30))
    rows = await db.usage.get_totals_by_key_and_model(start, EVER[1])
    assert sum(row.requests for row in rows) == found


async def test_summaries_follow_a_record_that_sql_changes(db: Database) -> None:
    batch = records(300)
    await db.usage.create_many(batch)
    async with db.transaction() as tx:
        changed = "prompt_tokens = prompt_tokens + 5, total_tokens = total_tokens + 5, status_code = 404"
        await tx.execute(f"UPDATE usage_records SET {changed} WHERE prompt_tokens < 100")
    totals = [await db.usage.get_totals_by_api_key(key, START, END) for key in KEYS]
    assert sum(each.prompt_tokens for each in totals) == sum(range(300)) + 500
    async with db.transaction() as tx:
        [row] = await tx.fetch("SELECT sum(total_requests) AS n FROM daily_usage_summaries WHERE status_class = 4")
    assert row["n"] == 100 + sum(n % 3 == 1 for n in range(100, 300))
