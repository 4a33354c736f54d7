import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import APIKey, Database, GatewayDBError, InvalidValueError, UsageRecord
from tests.conftest import MakeDatabase


def records(key: APIKey, count: int) -> list[UsageRecord]:
    return [UsageRecord(api_key_id=key.id, prompt_tokens=1, cost_usd=Decimal("0.01")) for _ in range(count)]


async def total(db: Database, key: APIKey) -> int:
    now = UsageRecord(api_key_id=key.id).request_timestamp
    return (await db.usage.get_totals_by_api_key(key.id, now - timedelta(days=1), now + timedelta(days=1))).requests


async def test_what_many_tasks_record_is_few_statements(db: Database, api_key: APIKey, statements: list[str]) -> None:
    await asyncio.gather(*map(db.usage.create, records(api_key, 1_200)))
    assert len([sql for sql in statements if "INSERT INTO usage_records" in sql]) <= 6
    assert await total(db, api_key) == 1_200


async def test_what_was_acknowledged_is_committed(make_database: MakeDatabase, api_key: APIKey) -> None:
    writer, other = await make_database(), await make_database()

    async def record(given: UsageRecord) -> None:
        await writer.usage.create(given)
        assert (await other.usage.get_by_id(given.id)).id == given.id

    await asyncio.gather(*map(record, records(api_key, 50)))


async def test_one_bad_record_fails_alone(db: Database, api_key: APIKey) -> None:
    given = records(api_key, 20)
    given[7] = replace(given[7], prompt_tokens=-1)
    results = await asyncio.gather(*map(db.usage.create, given), return_exceptions=True)
    assert [type(result) for result in results].count(InvalidValueError) == 1
    assert await total(db, api_key) == 19


async def test_the_same_record_from_many_tasks_counts_once(db: Database, api_key: APIKey) -> None:
    (record,) = records(api_key, 1)
    await asyncio.gather(*(db.usage.create(record) for _ in range(100)))
    assert await total(db, api_key) == 1


async def test_closing_waits_for_what_is_being_recorded(make_database: MakeDatabase, api_key: APIKey) -> None:
    writer, reader = await make_database(), await make_database()
    tasks = [asyncio.create_task(writer.usage.create(record)) for record in records(api_key, 100)]
    await asyncio.sleep(0)
    await writer.close()
    await asyncio.gather(*tasks)
    assert await total(reader, api_key) == 100


async def test_inside_a_transaction_a_record_is_the_transactions(db: Database, api_key: APIKey) -> None:
    (record,) = records(api_key, 1)

    async def record_and_fail() -> None:
        async with db.transaction() as tx:
            await tx.usage.create(record)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await record_and_fail()
    assert await total(db, api_key) == 0


async def test_a_record_beside_the_tasks_own_transaction_is_refused(db: Database, api_key: APIKey) -> None:
    async with db.transaction():
        with pytest.raises(GatewayDBError, match="through tx"):
            await db.usage.create(records(api_key, 1)[0])
