"""Closing while something runs, using what is closed, and using it where it was not opened."""

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gatewaydb import Database, DatabaseConfig, DatabaseUnavailableError, GatewayDBError, Provider, UsageRecord
from gatewaydb.engines import base
from gatewaydb.entities.base import new_id
from tests.conformance.test_timeouts import ENDLESS

BOUND_S = 0.3
# The bound, the second in which those that were cut off unwind, and a slow machine.
IN_TIME_S = BOUND_S + 1 + 3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits no longer than `BOUND_S`."""
    monkeypatch.setattr(base, "CLOSE_TIMEOUT", timedelta(seconds=BOUND_S))


def _run(main: Coroutine[Any, Any, None]) -> None:
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


async def _close_in_time(db: Database) -> None:
    start = time.monotonic()
    await db.close()
    assert time.monotonic() - start < IN_TIME_S
    with pytest.raises(DatabaseUnavailableError, match="not open"):
        await db.api_keys.list()


def _tasks(*calls: Coroutine[Any, Any, Any]) -> list["asyncio.Task[Any]"]:
    return [asyncio.create_task(call) for call in calls]


def test_closing_waits_for_fifty_requests(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        await db.open()
        key, _ = await db.api_keys.issue("busy")
        reads = [db.api_keys.list() for _ in range(20)]
        writes = [db.api_keys.set_metadata(key.id, "a", f"{n}", "b") for n in range(10)]
        records = [db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(20)]
        tasks = _tasks(*reads, *writes, *records)
        await asyncio.sleep(0)
        await db.close()
        assert all(task.done() for task in tasks)
        assert await _settle(tasks) == []
        assert db.stats().in_use == 0

    _run(main())


def test_fifty_requests_that_closing_cuts_off_end_with_their_answer_or_an_error(
    config: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(steps: int) -> None:
        db = Database(config)
        await db.open()
        key, _ = await db.api_keys.issue("busy")
        reads = [db.api_keys.list() for _ in range(25)]
        records = [db.usage.create(UsageRecord(api_key_id=key.id)) for _ in range(25)]
        tasks = _tasks(*reads, *records)
        for _ in range(steps):
            await asyncio.sleep(0)
        await _close_in_time(db)
        errors = await _settle(tasks)
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors), errors

    monkeypatch.setattr(base, "CLOSE_TIMEOUT", timedelta(0))
    for steps in (1, 3, 8, 15, 25):
        _run(main(steps))


@pytest.mark.usefixtures("impatient")
def test_closing_cuts_off_what_takes_too_long(config: DatabaseConfig, dialect: str) -> None:
    async def endless(db: Database) -> None:
        async with db.transaction() as tx:
            await tx.providers.create(Provider(name="in vain"))
            await tx.fetch(ENDLESS[dialect])

    async def main() -> None:
        db = Database(config)
        await db.open()
        tasks = _tasks(endless(db), *(db.providers.create(Provider(name=f"{n}")) for n in range(5)))
        await asyncio.sleep(0.05)
        await _close_in_time(db)
        errors = await _settle(tasks)
        assert len(errors) == (6 if dialect == "sqlite" else 1)
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors), errors
        async with Database(config) as again:
            assert "in vain" not in {provider.name for provider in await again.providers.list()}

    _run(main())


@pytest.mark.usefixtures("impatient")
def test_a_transaction_that_outlives_its_database_commits_nothing(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        await db.open()
        closed = asyncio.Event()

        async def outlive() -> None:
            async with db.transaction() as tx:
                await tx.providers.create(Provider(name="in vain"))
                await closed.wait()

        tasks = _tasks(outlive(), outlive())
        await asyncio.sleep(0.05)
        await _close_in_time(db)
        closed.set()
        errors = await _settle(tasks)
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors)
        async with Database(config) as again:
            assert await again.providers.list() == []

    _run(main())


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
                tasks = _tasks(*(db.usage.create(UsageRecord(api_key_id=new_id())) for _ in range(30)))
                await asyncio.sleep(0.05)
                await _close_in_time(db)
                errors = await _settle(tasks)
                await tx.execute("DELETE FROM providers")
        assert len(errors) == 30
        assert all(isinstance(error, DatabaseUnavailableError) for error in errors)

    _run(main())


def test_closing_that_is_cancelled_closes_at_once(config: DatabaseConfig, dialect: str) -> None:
    async def main() -> None:
        db = Database(config)
        await db.open()
        forever = asyncio.Event()

        async def hold() -> None:
            async with db.transaction() as tx:
                await tx.providers.create(Provider(name="in vain"))
                await forever.wait()

        tasks = _tasks(hold())
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await db.close()
        await _close_in_time(db)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        await db.open()
        assert await db.providers.list() == []
        await db.close()

    _run(main())


def test_a_database_may_be_closed_twice_at_once_and_opened_once(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        results = await asyncio.gather(db.open(), db.open(), return_exceptions=True)
        assert [str(error) for error in results if error] == ["this database is open already"]
        with pytest.raises(GatewayDBError, match="open already"):
            await db.migrate()
        await db.health()
        await asyncio.gather(db.close(), db.close())
        await _close_in_time(db)

    _run(main())


CALLS: list[Callable[[Database], Awaitable[object]]] = [
    lambda db: db.api_keys.authenticate("sk-unknown"),
    lambda db: db.api_keys.get_by_hash("unknown"),
    lambda db: db.api_keys.get_by_id(new_id()),
    lambda db: db.api_keys.list(),
    lambda db: db.api_keys.issue("in vain"),
    lambda db: db.models.get_by_name("unknown"),
    lambda db: db.usage.create(UsageRecord(api_key_id=new_id())),
    lambda db: db.usage.create_many([UsageRecord(api_key_id=new_id())]),
    lambda db: db.contents(),
    lambda db: db.health(),
]


async def _errors(db: Database) -> list[GatewayDBError]:
    async def in_transaction() -> None:
        async with db.transaction():
            pass

    caught = []
    for call in (*(call(db) for call in CALLS), in_transaction()):
        with pytest.raises(GatewayDBError) as error:
            await call
        caught.append(error.value)
    return caught


def test_what_is_not_open_says_so(config: DatabaseConfig) -> None:
    async def main() -> None:
        db = Database(config)
        for _ in range(2):
            for error in await _errors(db):
                assert isinstance(error, DatabaseUnavailableError)
                assert str(error) == "the database is not open"
            await db.open()
            await db.close()

    _run(main())


def test_on_another_event_loop_hits_are_served_and_all_else_says_why_not(config: DatabaseConfig) -> None:
    async def main() -> None:
        async with Database(config) as db:
            key, secret = await db.api_keys.issue("cached")
            await db.api_keys.authenticate(secret)
            # A miss that is in the air here is not waited for there.
            misses = _tasks(db.api_keys.get_by_hash("unknown"))

            async def elsewhere() -> None:
                assert (await db.api_keys.authenticate(secret)).id == key.id
                assert (await db.api_keys.get_by_hash(key.key_hash)).id == key.id
                for error in await _errors(db):
                    assert "another event loop" in str(error)
                with pytest.raises(GatewayDBError, match="another event loop"):
                    await db.close()

            await asyncio.to_thread(_run, elsewhere())
            await asyncio.wait(misses)
            assert misses[0].exception() is not None
            await db.health()

    _run(main())


def test_a_closed_database_opens_on_another_loop(config: DatabaseConfig) -> None:
    db = Database(config)

    async def main(name: str) -> None:
        async with db:
            await db.api_keys.issue(name)
            assert {key.name for key in await db.api_keys.list()} >= {name}

    for name in ("first", "second", "third"):
        _run(main(name))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_database_whose_loop_has_ended_can_be_closed_and_opened_again(config: DatabaseConfig) -> None:
    db = Database(config)

    async def leave_it_open() -> None:
        await db.open()
        await db.api_keys.issue("left")

    async def close_and_open() -> None:
        with pytest.raises(GatewayDBError, match="another event loop"):
            await db.api_keys.list()
        await db.close()
        async with db:
            await db.usage.create(UsageRecord(api_key_id=new_id()))
            assert [key.name for key in await db.api_keys.list()] == ["left"]

    asyncio.run(leave_it_open())
    _run(close_and_open())
    gc.collect()


EXIT = """
import asyncio, sys
from gatewaydb import Database, UsageRecord
from gatewaydb.entities.base import new_id

db = Database(sys.argv[1])

async def main():
    await db.open()
    key, secret = await db.api_keys.issue("left")
    await db.api_keys.authenticate(secret)
    tasks = [asyncio.create_task(db.usage.create(UsageRecord(api_key_id=key.id))) for _ in range(50)]
    await asyncio.sleep(0)
    print("opened")
    if sys.argv[2] == "raise":
        sys.exit(3)

asyncio.run(main())
"""


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("raise", 3)])
def test_an_exit_without_close_prints_nothing(config: DatabaseConfig, how: str, code: int) -> None:
    done = _python(EXIT, config.url or "", how)
    assert (done.stdout, done.stderr, done.returncode) == ("opened\n", "", code)


FORK = """
import asyncio, os, sys
from gatewaydb import Database, GatewayDBError

db = Database(sys.argv[1])

async def complain():
    for call in (db.api_keys.list(), db.api_keys.get_by_hash("a"), db.close()):
        try:
            await call
        except GatewayDBError as error:
            print(error, flush=True)

async def main():
    await db.open()
    if (child := os.fork()) == 0:
        asyncio.events._set_running_loop(None)
        try:
            asyncio.run(complain())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    await db.health()
    await db.close()

asyncio.run(main())
"""


def test_after_a_fork_it_says_so_and_the_parent_goes_on(config: DatabaseConfig) -> None:
    done = _python(FORK, config.url or "")
    assert done.stderr == ""
    assert done.returncode == 0
    said = done.stdout.splitlines()
    assert len(said) == 3
    assert all("before this process was forked" in line for line in said)


def _python(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env=os.environ, cwd=Path(__file__).parent
    )
