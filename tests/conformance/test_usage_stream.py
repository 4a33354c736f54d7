"""Usage records as a stream: all of them, a few at a time, as they were when it began."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from gatewaydb import (
    Database,
    DatabaseUnavailableError,
    GatewayDBError,
    InvalidValueError,
    QueryTimeoutError,
    UsageRecord,
)
from gatewaydb.entities.base import new_id
from tests.clock import until
from tests.conformance.test_timeouts import ENDLESS
from tests.conftest import MakeDatabase

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
ROWS = 1_200  # several batches, and a part of one
KEYS, MODELS = [new_id(), new_id()], [new_id(), new_id(), new_id()]


def record(number: int, **fields: object) -> UsageRecord:
    at = START + (END - START) / ROWS * number
    made = {"api_key_id": KEYS[number % 2], "model_id": MODELS[number % 3], "request_timestamp": at, **fields}
    return UsageRecord(prompt_tokens=number, **made).checked()  # type: ignore[arg-type]


@pytest.fixture
async def records(db: Database) -> list[UsageRecord]:
    """What is stored, over three months."""
    made = [record(number, cost_usd=Decimal(number).scaleb(-12)) for number in range(ROWS)]
    await db.usage.create_many(made)
    return made


async def ids(stream: AsyncGenerator[UsageRecord, None]) -> list[UUID]:
    return sorted([found.id async for found in stream])


async def test_a_stream_has_every_record_of_its_range_once(db: Database, records: list[UsageRecord]) -> None:
    def by_id(found: list[UsageRecord]) -> list[UsageRecord]:
        return sorted(found, key=lambda each: each.id)

    assert by_id([found async for found in db.usage.stream(START, END)]) == by_id(records)
    start, end = records[100].request_timestamp, records[1_100].request_timestamp
    assert by_id([found async for found in db.usage.stream(start, end)]) == by_id(records[100:1_100])
    assert await ids(db.usage.stream(END, END + timedelta(days=9))) == []
    assert db.stats().in_use == 0


async def test_a_stream_of_a_key_and_a_model_has_theirs_alone(db: Database, records: list[UsageRecord]) -> None:
    start, end = records[10].request_timestamp, records[-10].request_timestamp
    for key, model in ((KEYS[0], None), (None, MODELS[2]), (KEYS[1], MODELS[2])):
        expected = [
            each.id for each in records[10:-10] if key in (None, each.api_key_id) and model in (None, each.model_id)
        ]
        assert await ids(db.usage.stream(start, end, api_key_id=key, model_id=model)) == sorted(expected)


async def test_a_stream_sees_what_was_committed_when_it_began(db: Database, records: list[UsageRecord]) -> None:
    stream = db.usage.stream(START, END)
    first = await anext(stream)
    await db.usage.create_many([record(number) for number in range(300)])
    async with db.transaction() as tx:
        await tx.execute("UPDATE usage_records SET prompt_tokens = 999999999")
    rest = [found async for found in stream]
    assert sorted(each.id for each in (first, *rest)) == sorted(each.id for each in records)
    assert max(each.prompt_tokens for each in rest) < ROWS


async def test_two_streams_and_all_else_go_on_beside_each_other(db: Database, records: list[UsageRecord]) -> None:
    async with aclosing(db.usage.stream(START, END)) as one, aclosing(db.usage.stream(START, END)) as other:
        assert await anext(one)
        assert await anext(other)
        assert db.stats().in_use == 2
        assert len(await db.usage.get_by_api_key(KEYS[0], START, END)) == 50
        await db.usage.create(record(0))
        assert len(await ids(one)) == len(await ids(other)) == ROWS - 1
    assert db.stats().in_use == 0


async def test_leaving_early_gives_everything_back(db: Database, records: list[UsageRecord]) -> None:
    async def leave() -> None:
        async with aclosing(db.usage.stream(START, END)) as stream:
            async for _ in stream:
                raise RuntimeError("of the consumer")

    with pytest.raises(RuntimeError, match="of the consumer"):
        await leave()
    assert db.stats().in_use == 0


async def test_a_stream_that_nobody_closed_ends_with_its_last_reference(
    db: Database, records: list[UsageRecord]
) -> None:
    stream = db.usage.stream(START, END)
    await anext(stream)
    assert db.stats().in_use == 1
    del stream
    gc.collect()
    await until(lambda: db.stats().in_use == 0)


@pytest.mark.parametrize("rounds", [40])
async def test_cancelling_a_stream_at_any_moment_gives_everything_back(
    make_database: MakeDatabase, records: list[UsageRecord], rounds: int
) -> None:
    """Each round is cancelled one step of the loop later than the one before."""
    db = await make_database(query_timeout="1m", max_open_conns=2)

    async def read() -> None:
        async with aclosing(db.usage.stream(START, END)) as stream:
            async for _ in stream:
                pass

    for number in range(rounds):
        task = asyncio.create_task(read())
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert db.stats().in_use == 0
    assert len(await ids(db.usage.stream(START, END))) == ROWS


async def test_a_stream_inside_a_transaction_is_refused(db: Database) -> None:
    async with db.transaction() as tx:
        with pytest.raises(GatewayDBError, match="outside of transactions"):
            tx.usage.stream(START, END)


async def test_bad_arguments_are_refused_at_once(db: Database) -> None:
    with pytest.raises(InvalidValueError, match="start"):
        db.usage.stream(END, START)
    with pytest.raises(InvalidValueError, match="end"):
        db.usage.stream(START, END.replace(tzinfo=None))
    with pytest.raises(InvalidValueError, match="api_key_id"):
        db.usage.stream(START, END, api_key_id="x")  # type: ignore[arg-type]


async def test_a_database_that_is_closed_under_a_stream_is_unavailable(
    make_database: MakeDatabase, records: list[UsageRecord]
) -> None:
    db = await make_database()
    stream = db.usage.stream(START, END)
    await anext(stream)
    await db.close()
    with pytest.raises(DatabaseUnavailableError):
        await ids(stream)
    with pytest.raises(DatabaseUnavailableError):
        await anext(db.usage.stream(START, END))


async def test_a_file_that_is_gone_is_unavailable_and_not_made_anew(sqlite_url: str) -> None:
    async with Database(sqlite_url) as db:
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        await asyncio.to_thread(path.unlink)
        with pytest.raises(DatabaseUnavailableError):
            await ids(db.usage.stream(START, END))
        assert not await asyncio.to_thread(path.exists)


async def test_a_batch_that_takes_too_long_is_a_timeout(
    make_database: MakeDatabase, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = await make_database(query_timeout="200ms")
    statements = db._engine._statements
    endless = statements["usage_record_stream"]._replace(sql=f"SELECT * FROM ({ENDLESS[dialect]}) AS e", parameters=())
    monkeypatch.setattr(db._engine, "_statements", {**statements, "usage_record_stream": endless})
    with pytest.raises(QueryTimeoutError):
        await ids(db.usage.stream(START, END))
    assert db.stats().in_use == 0
