"""Using a database where it was not opened: before and after, on another event loop, in a child process, at the end."""

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gatewaydb import Database, DatabaseConfig, DatabaseUnavailableError, GatewayDBError, UsageRecord
from gatewaydb.entities.base import new_id
from tests.conformance.test_closing import run_clean, tasks_of

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

    run_clean(main())


def test_on_another_event_loop_hits_are_served_and_all_else_says_why_not(config: DatabaseConfig) -> None:
    async def main() -> None:
        async with Database(config) as db:
            key, secret = await db.api_keys.issue("cached")
            await db.api_keys.authenticate(secret)
            # A miss that is in the air here is not waited for there.
            misses = tasks_of(db.api_keys.get_by_hash("unknown"))

            async def elsewhere() -> None:
                assert (await db.api_keys.authenticate(secret)).id == key.id
                assert (await db.api_keys.get_by_hash(key.key_hash)).id == key.id
                for error in await _errors(db):
                    assert "another event loop" in str(error)
                with pytest.raises(GatewayDBError, match="another event loop"):
                    await db.close()

            await asyncio.to_thread(run_clean, elsewhere())
            await asyncio.wait(misses)
            assert misses[0].exception() is not None
            await db.health()

    run_clean(main())


def test_a_closed_database_opens_on_another_loop(config: DatabaseConfig) -> None:
    db = Database(config)

    async def main(name: str) -> None:
        async with db:
            await db.api_keys.issue(name)
            assert {key.name for key in await db.api_keys.list()} >= {name}

    for name in ("first", "second", "third"):
        run_clean(main(name))


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
    run_clean(close_and_open())
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
