"""`db.recorder` in front of each engine: what it records is in the totals once, and closing loses nothing."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest

from gatewaydb import APIKey, Database, GatewayDBError, UsageRecord
from gatewaydb.entities.base import new_id
from tests.clock import until
from tests.conftest import MakeDatabase


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def key(db: Database) -> APIKey:
    return (await db.api_keys.issue("recorded"))[0]


async def test_what_was_recorded_is_in_records_and_summaries_once(db: Database, key: APIKey, journal: Path) -> None:
    records = [UsageRecord(api_key_id=key.id, prompt_tokens=n, cost_usd=Decimal("0.000000000001")) for n in range(50)]
    async with db.recorder(journal) as recorder:
        await asyncio.gather(*map(recorder.record, [*records, *records[:10]]))
        await db.usage.create(records[0])
        await recorder.flush()
        assert recorder.stats().shipped == 60
    at = records[0].request_timestamp
    summary = await db.monthly_summaries.get_by_api_key_and_month(key.id, at.year, at.month)
    assert (summary.total_requests, summary.total_prompt_tokens) == (50, sum(range(50)))
    assert summary.total_cost_usd == Decimal("0.00000000005")
    assert await db.usage.get_by_id(records[7].id) == records[7].checked()


async def test_closing_the_database_ships_and_closes_its_recorders(
    make_database: MakeDatabase, key: APIKey, tmp_path: Path
) -> None:
    db = await make_database()
    recorders = [db.recorder(tmp_path / name) for name in ("one", "two", "never used")]
    records = [UsageRecord(api_key_id=key.id) for _ in range(2)]
    for recorder, record in zip(recorders, records, strict=False):
        await recorder.record(record)
    await db.close()
    with pytest.raises(GatewayDBError, match="this recorder was closed"):
        await recorders[0].record(records[1])
    again = await make_database()
    for record in records:
        assert (await again.usage.get_by_id(record.id)).id == record.id


async def test_a_record_may_be_made_inside_a_transaction_and_outlives_its_rollback(
    db: Database, key: APIKey, journal: Path
) -> None:
    record = UsageRecord(api_key_id=key.id)
    recorder = db.recorder(journal)

    async def failing() -> None:
        async with db.transaction():
            await recorder.record(record)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    await recorder.flush()
    assert (await db.usage.get_by_id(record.id)).id == record.id


REFUSE = {
    "sqlite": """CREATE TRIGGER refuse_13 BEFORE INSERT ON usage_records WHEN NEW.prompt_tokens = 13
        BEGIN SELECT RAISE(ABORT, 'unlucky'); END""",
    "postgres": "ALTER TABLE usage_records ADD CONSTRAINT refuse_13 CHECK (prompt_tokens <> 13)",
}


async def test_a_record_that_the_database_refuses_is_set_aside_and_the_rest_is_there(
    db: Database, key: APIKey, journal: Path
) -> None:
    async with db.transaction() as tx:
        await tx.execute(REFUSE[db._engine.dialect])
    recorder = db.recorder(journal)
    await asyncio.gather(*(recorder.record(UsageRecord(api_key_id=key.id, prompt_tokens=n)) for n in range(20)))
    await recorder.flush()
    stats = recorder.stats()
    assert (stats.shipped, stats.rejected, stats.dropped) == (19, 1, 0)
    lines = await asyncio.to_thread((journal / "quarantine.jsonl").read_text)
    assert [json.loads(line)["record"]["prompt_tokens"] for line in lines.splitlines()] == [13]


async def test_a_table_that_is_missing_is_no_record_s_fault(db: Database, journal: Path) -> None:
    recorder = db.recorder(journal)
    record = UsageRecord(api_key_id=new_id())
    async with db.transaction() as tx:
        await tx.execute("ALTER TABLE usage_records RENAME TO away")
    await recorder.record(record)
    await until(lambda: recorder.stats().last_error is not None)
    async with db.transaction() as tx:
        await tx.execute("ALTER TABLE away RENAME TO usage_records")
    await recorder.flush()
    stats = recorder.stats()
    assert (stats.shipped, stats.rejected) == (1, 0)
    assert (await db.usage.get_by_id(record.id)).id == record.id
