"""Closing while something runs."""

import asyncio
import gc
import time
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import pytest

from gatewaydb import Database, DatabaseConfig, DatabaseUnavailableError, GatewayDBError, Provider, UsageRecord
from gatewaydb.engines import engine
from gatewaydb.entities.base import new_id
from tests.conformance.test_timeouts import ENDLESS

BOUND_S = 0.3
# The bound, the second in which those that were cut off unwind, and a slow machine.
IN_TIME_S = BOUND_S + 1 + 3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits no longer than `BOUND_S`."""
    monkeypatch.setattr(engine, "CLOSE_TIMEOUT", timedelta(seconds=BOUND_S))


def run_clean(main: Coroutine[Any, Any, None]) -> None:
    """Runs it on an event loop of its own, in debug mode; nothing may be left on it, and it may complain of nothing."""
    complaints: list[object] = []
    with asyncio.Runner(debug=True) as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        runner.run(main)
        left = asyncio.all_tasks(loop)
    gc.collect()
    assert not complaints
    assert not left


async def _settle(tasks: Sequence["asyncio.Task[Any]"]) -> list[BaseException]:
    """The errors, once all have ended, which they have to soon."""
    done, pending = await asyncio.wait(tasks, timeout=IN_TIME_S)
    assert not pending
    return [error for task in done if (error := task.exception()) is not None]


async def close_in_time(db: Database) -> None:
    start = time.monotonic()
    await db.close()
    assert time.monotonic() - start < IN_TIME_S
    with pytest.raises(DatabaseUnavailableError, match="not open"):
        await db.api_keys.list()


def tasks_of(*calls: Coroutine[Any, Any, Any]) -> list["asyncio.Task[Any]"]:
    return [asyncio.create_task(call) for call in calls]


def test_closing_waits_for_fifty_requests(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        await db.open()
        key, _ = await db.api_keys.issue("busy")
        reads = [db.api_keys.list() for _ in range(20)]
        writes = [db.api_keys.set_metadata(key.id, "a", f"{n}", "b") for n in range(10)]
        records = [db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(20)]
        tasks = tasks_of(*reads, *writes, *records)
        await asyncio.sleep(0)
        await db.close()
        assert all(task.done() for task in tasks)
        assert await _settle(tasks) == []
        assert db.stats().in_use == 0

    run_clean(main())


def test_fifty_requests_that_closing_cuts_off_end_with_their_answer_or_an_error(
    config: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(steps: int) -> None:
        db = Database(config)
        await db.open()
        key, _ = await db.api_keys.issue("busy")
        reads = [db.api_keys.list() for _ in range(25)]
        records = [db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(25)]
        tasks = tasks_of(*reads, *records)
        for _ in range(steps):
            await asyncio.sleep(0)
        await close_in_time(db)
        errors = await _settle(tasks)
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors), errors

    monkeypatch.setattr(engine, "CLOSE_TIMEOUT", timedelta(0))
    for steps in (1, 3, 8, 15, 25):
        run_clean(main(steps))


@pytest.mark.usefixtures("impatient")
def test_closing_cuts_off_what_takes_too_long(config: DatabaseConfig, dialect: str) -> None:
    async def endless(db: Database, is_under_way: asyncio.Event) -> None:
        async with db.transaction() as tx:
            await tx.providers.create(Provider(name="in vain"))
            is_under_way.set()
            await tx.fetch(ENDLESS[dialect])

    async def main() -> None:
        db, is_under_way = Database(config), asyncio.Event()
        await db.open()
        endlessly, *others = tasks_of(
            endless(db, is_under_way), *(db.providers.create(Provider(name=f"{n}")) for n in range(5))
        )
        await is_under_way.wait()
        if dialect == "postgres":
            await asyncio.wait(others)
        await close_in_time(db)
        errors = await _settle([endlessly, *others])
        assert len(errors) == (6 if dialect == "sqlite" else 1)
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors), errors
        async with Database(config) as again:
            assert "in vain" not in {provider.name for provider in await again.providers.list()}

    run_clean(main())


@pytest.mark.usefixtures("impatient")
def test_a_transaction_that_outlives_its_database_commits_nothing(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        await db.open()
        is_under_way, closed = asyncio.Event(), asyncio.Event()

        async def outlive() -> None:
            async with db.transaction() as tx:
                await tx.providers.create(Provider(name="in vain"))
                is_under_way.set()
                await closed.wait()

        tasks = tasks_of(outlive(), outlive())
        await is_under_way.wait()
        await close_in_time(db)
        closed.set()
        errors = await _settle(tasks)
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors)
        async with Database(config) as again:
            assert await again.providers.list() == []

    run_clean(main())


LOCK = {"sqlite": "CREATE TABLE lock (a)", "postgres": "LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE"}


@pytest.mark.usefixtures("impatient")
def test_records_that_cannot_be_written_before_closing_fail_for_their_callers(
    config: DatabaseConfig, dialect: str
) -> None:
    async def main() -> None:
        async with Database(config) as other:
            db = Database(config)
            await db.open()
            async with other.transaction() as tx:
                await tx.execute(LOCK[dialect])
                tasks = tasks_of(*(db.usage.create(UsageRecord(api_key_id=new_id())) for _ in range(30)))
                await asyncio.sleep(0)
                await close_in_time(db)
                errors = await _settle(tasks)
                await tx.execute("DELETE FROM providers")
        assert len(errors) == 30
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors)

    run_clean(main())


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
def test_closing_that_is_cancelled_closes_at_once(config: DatabaseConfig, turns: int) -> None:
    """At whatever step: nothing is left open."""

    async def main() -> None:
        db = Database(config)
        await db.open()
        is_held, forever = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with db.transaction() as tx:
                await tx.providers.create(Provider(name="in vain"))
                is_held.set()
                await forever.wait()

        [holding] = tasks_of(hold())
        await is_held.wait()
        [closing] = tasks_of(db.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        assert not (await asyncio.wait([closing], timeout=IN_TIME_S))[1]
        assert closing.cancelled()
        await close_in_time(db)
        holding.cancel()
        await asyncio.wait([holding])
        await db.open()
        assert await db.providers.list() == []
        await db.close()

    run_clean(main())


def test_a_database_may_be_closed_twice_at_once_and_opened_once(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        results = await asyncio.gather(db.open(), db.open(), return_exceptions=True)
        assert [str(error) for error in results if error] == ["this database is open already"]
        with pytest.raises(GatewayDBError, match="open already"):
            await db.migrate()
        await db.health()
        await asyncio.gather(db.close(), db.close())
        await close_in_time(db)

    run_clean(main())
