"""Many writers on the same keys: no deadlock, nothing twice, and the summary is the sum of the rows."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from gatewaydb import Database, DatabaseConfig, UsageRecord
from gatewaydb.entities.base import new_id
from tests.conftest import MakeDatabase

KEYS = [new_id() for _ in range(20)]
START = datetime(2026, 1, 1, tzinfo=UTC)


def _records(count: int, chance: random.Random) -> list[UsageRecord]:
    return [
        UsageRecord(
            api_key_id=chance.choice(KEYS),
            request_id=f"r{number}" if number % 3 else None,
            request_timestamp=START + timedelta(days=chance.randrange(150)),
            prompt_tokens=chance.randrange(1000),
            cost_usd=Decimal(chance.randrange(10**12)).scaleb(-12) if number % 7 else None,
        )
        for number in range(count)
    ]


async def _write(db: Database, records: Sequence[UsageRecord], chance: random.Random) -> None:
    """Everything, in batches of its own that overlap, some of them twice, with single records in between."""
    for _ in range(6):
        batch = chance.sample(records, 150)
        await db.usage.create_many(batch)
        await asyncio.gather(*(db.usage.create(record) for record in batch[:10]))
    await db.usage.create_many([replace(record, id=new_id()) for record in records if record.request_id])
    await db.usage.create_many(records)


async def _deadlocks(db: Database) -> int:
    async with db.transaction() as tx:
        sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int((await tx.fetch(sql))[0]["deadlocks"])


async def test_eight_writers_with_replays_and_overlaps(make_database: MakeDatabase, dialect: str) -> None:
    chance = random.Random(8)
    records = _records(600, chance)
    databases = [await make_database(query_timeout="30s") for _ in range(8)]
    await asyncio.gather(*(_write(db, records, random.Random(number)) for number, db in enumerate(databases)))
    await _assert_summaries_are_the_sums(databases[0], records)
    if dialect == "postgres":
        assert await _deadlocks(databases[0]) == 0


async def _assert_summaries_are_the_sums(db: Database, records: Sequence[UsageRecord]) -> None:
    for key in KEYS:
        for month in range(1, 6):
            wanted = [each for each in records if (each.api_key_id, each.request_timestamp.month) == (key, month)]
            kept = await db.monthly_summaries.get_by_api_key_and_month(key, 2026, month)
            assert kept.total_requests == len(wanted)
            assert kept.unpriced_requests == [each.cost_usd for each in wanted].count(None)
            assert kept.total_prompt_tokens == sum(each.prompt_tokens for each in wanted)
            assert kept.total_cost_usd == sum(each.cost_usd for each in wanted if each.cost_usd is not None)
            assert kept.last_request_at == max(each.request_timestamp for each in wanted)


async def test_a_long_replay_and_short_ones_of_its_end_do_not_wait_crosswise(
    make_database: MakeDatabase, dialect: str
) -> None:
    """In batches, the long one would hold its key's summary while it waits for records that a short one inserted."""
    count = 3000
    records = [
        UsageRecord(api_key_id=KEYS[0], request_id=f"r{number:05}", request_timestamp=START, cost_usd=Decimal("0.1"))
        for number in range(count)
    ]
    databases = [await make_database(query_timeout="30s") for _ in range(4)]
    tail = records[-500:]
    await asyncio.gather(
        databases[0].usage.create_many(records),
        databases[1].usage.create_many(records[::-1]),
        *(db.usage.create_many(tail[n : n + 50]) for db in databases[2:] for n in range(0, 500, 50)),
    )
    kept = await databases[0].monthly_summaries.get_by_api_key_and_month(KEYS[0], 2026, 1)
    assert (kept.total_requests, kept.total_cost_usd) == (count, count * Decimal("0.1"))
    if dialect == "postgres":
        assert await _deadlocks(databases[0]) == 0


async def test_two_gateways_count_a_thousand_single_records(
    make_database: MakeDatabase, config: DatabaseConfig
) -> None:
    databases = [await make_database() for _ in range(2)]
    records = [UsageRecord(api_key_id=KEYS[0], request_timestamp=START, prompt_tokens=1) for _ in range(250)]
    await asyncio.gather(*(db.usage.create(record) for record in records for db in databases))
    totals = await databases[0].usage.get_totals_by_api_key(KEYS[0], START, START + timedelta(1))
    assert (totals.requests, totals.prompt_tokens) == (250, 250)
