import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewaydb import APIKey, Database, Model, TokenTotals, UsageRecord, UsageRecordNotFoundError, UsageTotals
from gatewaydb.entities.base import new_id
from tests.conftest import MakeDatabase

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
KEY = new_id()
WHOLE = UsageRecord(
    api_key_id=KEY,
    model_id=new_id(),
    provider_id=new_id(),
    request_timestamp=datetime(2026, 6, 30, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=-7))),
    prompt_tokens=2**53,
    completion_tokens=500,
    total_tokens=7,
    cached_tokens=3,
    reasoning_tokens=4,
    cost_usd=Decimal("8999999.123456789012"),
    request_id="req-ü-1",
    model_name="gpt-4",
    endpoint="/v1/chat/completions",
    response_time_ms=2**31 - 1,
    status_code=200,
    error_message='it\'s "bad" \\ 🔑\n',
    request_metadata={"user": "test@example.com", "n": [1, 2.5, None, True, {"": "日本"}], "big": 2**53},
    response_metadata={"finish_reason": "stop"},
)


def _records(count: int, key: object = KEY, **fields: object) -> list[UsageRecord]:
    return [
        UsageRecord(api_key_id=key, request_timestamp=START + timedelta(minutes=n), prompt_tokens=1, **fields)  # type: ignore[arg-type]
        for n in range(count)
    ]


async def _stored(db: Database, key: object = KEY) -> Sequence[UsageRecord]:
    return await db.usage.get_by_api_key(key, START, END, limit=10_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("record", [WHOLE, UsageRecord(api_key_id=KEY, request_timestamp=START)], ids=["whole", "bare"])
async def test_a_record_comes_back_as_it_went_in(db: Database, record: UsageRecord) -> None:
    created = await db.usage.create(record)
    assert created == record.checked()
    assert await db.usage.get_by_id(record.id) == created
    assert await _stored(db) == [created]


async def test_the_total_is_the_sum_unless_it_is_given(db: Database) -> None:
    record = UsageRecord(api_key_id=KEY, prompt_tokens=3, completion_tokens=4)
    assert (await db.usage.create(record)).total_tokens == 7
    assert (await db.usage.create(replace(record, id=new_id(), total_tokens=9))).total_tokens == 9


@pytest.mark.parametrize(
    ("given_cost", "stored"),
    [
        ("0.000000000001", "0.000000000001"),
        ("0.0000000000005", "0"),
        ("0.0000000000015", "0.000000000002"),
        ("9000000", "9000000"),
        ("1E+3", "1000"),
        ("-0", "0"),
    ],
)
async def test_a_cost_is_exact_to_a_picodollar(db: Database, given_cost: str, stored: str) -> None:
    record = UsageRecord(api_key_id=KEY, cost_usd=Decimal(given_cost))
    await db.usage.create(record)
    assert (await db.usage.get_by_id(record.id)).cost_usd == Decimal(stored)


async def test_unpriced_is_not_free(db: Database) -> None:
    await db.usage.create_many([*_records(2), *_records(3, cost_usd=Decimal(0)), *_records(1, cost_usd=Decimal(2))])
    totals = await db.usage.get_totals_by_api_key(KEY, START, END)
    assert (totals.requests, totals.unpriced_requests, totals.cost_usd) == (6, 2, Decimal(2))
    assert [record.cost_usd for record in await _stored(db)].count(None) == 2


async def test_the_same_record_counts_once(db: Database) -> None:
    for _ in range(2):
        assert await db.usage.create(WHOLE) == WHOLE.checked()
    assert await db.usage.create_many([WHOLE, WHOLE]) == 0
    assert await db.usage.create_many([replace(WHOLE, id=new_id(), prompt_tokens=1)]) == 0
    assert await _stored(db) == [WHOLE.checked()]


async def test_a_request_id_is_a_key_s_own(db: Database) -> None:
    twins = [UsageRecord(api_key_id=key, request_id="r", request_timestamp=START) for key in (KEY, new_id())]
    assert await db.usage.create_many(twins) == 2
    without = [UsageRecord(api_key_id=KEY, request_timestamp=START) for _ in range(2)]
    assert await db.usage.create_many(without) == 2


async def test_create_many_counts_what_was_new(db: Database) -> None:
    records = _records(2500)
    assert await db.usage.create_many([]) == 0
    assert await db.usage.create_many(records[:1200]) == 1200
    assert await db.usage.create_many(records) == 1300
    assert await db.usage.create_many(reversed(records)) == 0
    assert (await db.usage.get_totals_by_api_key(KEY, START, END)).requests == 2500


async def test_the_same_record_at_once_counts_once(make_database: MakeDatabase) -> None:
    first, second = await make_database(), await make_database()
    writes = [db.usage.create(replace(WHOLE, id=new_id())) for db in (first, second) for _ in range(10)]
    await asyncio.gather(*writes, *(db.usage.create_many([WHOLE, *_records(5)]) for db in (first, second)))
    stored = await _stored(first)
    assert [record.request_id for record in stored].count(WHOLE.request_id) == 1
    assert len(stored) == 11


async def test_totals_are_of_one_key_from_start_to_before_end(db: Database) -> None:
    minute = timedelta(minutes=1)
    await db.usage.create_many([*_records(10, completion_tokens=2, cost_usd=Decimal("0.1")), *_records(3, new_id())])
    start, end = START + 2 * minute, START + 5 * minute
    assert await db.usage.get_totals_by_api_key(KEY, start, end) == UsageTotals(
        requests=3,
        unpriced_requests=0,
        prompt_tokens=3,
        completion_tokens=6,
        total_tokens=9,
        cost_usd=Decimal("0.3"),
    )
    assert await db.usage.get_total_cost_by_api_key(KEY, start, end) == Decimal("0.3")
    tokens = await db.usage.get_total_tokens_by_api_key(KEY, start, end)
    assert tokens == TokenTotals(3, 6, 9) == (3, 6, 9)
    assert (tokens.prompt_tokens, tokens.completion_tokens, tokens.total_tokens) == (3, 6, 9)
    assert await db.usage.get_total_cost_by_api_key(KEY, start, start) == 0
    listed = [record.request_timestamp for record in await db.usage.get_by_api_key(KEY, start, end)]
    assert listed == [START + n * minute for n in (4, 3, 2)]


async def test_a_range_may_be_in_any_time_zone(db: Database) -> None:
    await db.usage.create(UsageRecord(api_key_id=KEY, request_timestamp=START))
    zone = timezone(timedelta(hours=13, minutes=45))
    start = START.astimezone(zone)
    assert (await db.usage.get_totals_by_api_key(KEY, start, start + timedelta(microseconds=1))).requests == 1
    assert (await db.usage.get_totals_by_api_key(KEY, start + timedelta(microseconds=1), END)).requests == 0


async def test_nothing_was_used_is_zero_and_an_empty_list(db: Database) -> None:
    assert await _stored(db) == []
    assert await db.usage.get_total_cost_by_api_key(KEY, START, END) == Decimal(0)
    assert await db.usage.get_total_tokens_by_api_key(KEY, START, END) == (0, 0, 0)
    assert await db.usage.get_totals_by_key_and_model(START, END) == []
    with pytest.raises(UsageRecordNotFoundError):
        await db.usage.get_by_id(KEY)


async def test_totals_by_key_and_model_come_dearest_first(db: Database) -> None:
    other, model_id = new_id(), new_id()
    await db.usage.create_many(
        [
            *_records(2, cost_usd=Decimal("1.000000000001"), model_id=model_id, model_name="gpt-4"),
            *_records(1, other, cost_usd=Decimal(5), model_id=model_id, model_name="gpt-4"),
            *_records(3),
        ]
    )
    totals = await db.usage.get_totals_by_key_and_model(START, END)
    told = [(each.api_key_id, each.model_id, each.model_name, each.requests, each.cost_usd) for each in totals]
    assert told == [
        (other, model_id, "gpt-4", 1, Decimal(5)),
        (KEY, model_id, "gpt-4", 2, Decimal("2.000000000002")),
        (KEY, None, None, 3, Decimal(0)),
    ]


async def test_records_of_a_model_are_listed_over_all_keys(db: Database) -> None:
    model_id = new_id()
    records = [*_records(2, model_id=model_id), *_records(2, new_id(), model_id=model_id), *_records(2)]
    await db.usage.create_many(records)
    listed = await db.usage.get_by_model(model_id, START, END)
    assert {record.id for record in listed} == {record.id for record in records[:4]}
    times = [record.request_timestamp for record in listed]
    assert times == sorted(times, reverse=True)


async def test_usage_outlives_its_key_and_its_model(db: Database, api_key: APIKey, model: Model) -> None:
    record = UsageRecord(api_key_id=api_key.id, model_id=model.id, request_timestamp=START)
    await db.usage.create(record)
    await db.api_keys.delete(api_key.id)
    await db.models.delete(model.id)
    assert await db.usage.get_by_id(record.id) == record.checked()


costs = st.lists(
    st.none() | st.decimals(0, 9_000_000, places=12, allow_nan=False) | st.sampled_from([Decimal(9_000_000)]),
    min_size=1,
    max_size=30,
)


@given(costs=costs)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_sum_is_the_exact_sum_of_its_records(db: Database, costs: list[Decimal | None]) -> None:
    key, total = new_id(), sum((cost for cost in costs if cost is not None), Decimal(0))
    records = [UsageRecord(api_key_id=key, request_timestamp=START, cost_usd=cost) for cost in costs]
    await db.usage.create_many(records)
    totals = await db.usage.get_totals_by_api_key(key, START, END)
    summary = await db.monthly_summaries.get_by_api_key_and_month(key, 2026, 1)
    assert totals.cost_usd == summary.total_cost_usd == total
    assert totals.unpriced_requests == summary.unpriced_requests == costs.count(None)
    assert (await db.monthly_summaries.refresh_summary(key, 2026, 1)).total_cost_usd == total
