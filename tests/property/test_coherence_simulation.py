"""The caches against the database, on both engines, while every statement's question and answer may be held back.

One writer changes keys, models and aliases; readers ask for them all the time. A scheduler lets one of those who are
held go on when nothing else is under way, so that an answer may come many writes after its question, without a sleep.
What a read gives must have been so at some moment between its beginning and its end, and after each write the caches
hold what the database holds. The watch for others' changes is off: it would mend what is broken here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from random import Random
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, patch

import pytest

from gatewaydb import APIKey, Database, DatabaseConfig, Model, NotFoundError
from gatewaydb.engines.postgres import PostgresEngine, PostgresTransaction
from gatewaydb.engines.postgres_changes import PostgresWatch
from gatewaydb.engines.sqlite import SQLiteEngine
from gatewaydb.engines.sqlite_changes import SQLiteWatch
from gatewaydb.engines.sqlite_transaction import SQLiteTransaction
from gatewaydb.repositories import Repositories
from gatewaydb.repositories.rows import api_key_from, model_from
from tests.clock import ManualClock
from tests.property.test_coherence import (
    ALIAS_IDS,
    HASHES,
    KEY_IDS,
    MODEL_IDS,
    NAMES,
    REFUSED,
    RolledBackError,
    save_alias,
    save_key,
    save_model,
    set_key_metadata,
    set_prices,
)

WRITES = 60
READERS = 4
SLOWED = [
    *((engine, name) for engine in (SQLiteEngine, PostgresEngine) for name in ("fetch_one", "fetch_all", "execute")),
    *(
        (transaction, name)
        for transaction in (SQLiteTransaction, PostgresTransaction)
        for name in ("fetch_all", "execute", "execute_many", "control")
    ),
]
State = dict[str, APIKey | Model | None]
Write = Callable[[Repositories], Awaitable[Any]]
is_direct: ContextVar[bool] = ContextVar("is_direct", default=False)


class Scheduler:
    """Holds statements before and after they run, and lets the one with the least luck wait the longest."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._held: list[tuple[float, asyncio.Future[None]]] = []
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def slowed(self, original: Callable[..., Awaitable[Any]]) -> Any:
        async def run(*args: Any, **values: Any) -> Any:
            await self.hold()
            self._running += 1
            self._idle.clear()
            try:
                return await original(*args, **values)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()
                await self.hold()

        return run

    async def hold(self) -> None:
        if is_direct.get() or self._random.random() < 0.5:
            return
        released = asyncio.get_running_loop().create_future()
        self._held.append((self._random.random(), released))
        await released

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await _turns(3)
            await self._idle.wait()
            if self._held:
                luckiest = max(range(len(self._held)), key=lambda number: self._held[number][0])
                self._held.pop(luckiest)[1].set_result(None)


class Answer(NamedTuple):
    """What a read gave, and the first and last of the states that it may be of."""

    subject: str
    value: APIKey | Model | None
    first: int
    last: int


class World:
    """One database in one process, and every state that it was in."""

    def __init__(self, db: Database, subjects: Sequence[str], random: Random) -> None:
        self.db = db
        self.subjects = subjects
        self.random = random
        self.scheduler = Scheduler(random)
        self.history: list[State] = []
        self.answers: list[Answer] = []

    async def write_all(self) -> None:
        for _ in range(WRITES):
            await self._write_somehow()
            self.history.append(await self.stored())
            assert self.cached().items() <= self.history[-1].items()
            await self.scheduler.hold()

    async def _write_somehow(self) -> None:
        """One commit at most."""
        how = self.random.random()
        try:
            if how < 0.6:
                await self._some_write()(self.db)
                return
            async with self.db.transaction() as tx:
                await self._some_write()(tx)
                if how < 0.8:
                    await self._under_a_savepoint(tx, self._some_write(), is_undone=how < 0.7)
                if how > 0.9:
                    raise RolledBackError
        except (*REFUSED, RolledBackError):
            pass

    async def _under_a_savepoint(self, tx: Any, write: Write, *, is_undone: bool) -> None:
        try:
            async with tx.transaction() as inner:
                await write(inner)
                if is_undone:
                    raise RolledBackError
        except (*REFUSED, RolledBackError):
            pass

    def _some_write(self) -> Write:
        pick, number = self.random.choice, self.random.randrange(1000)
        key_id, model_id, alias_id, is_on = pick(KEY_IDS), pick(MODEL_IDS), pick(ALIAS_IDS), number % 3 > 0
        key_hash, name, alias = pick(HASHES), pick(NAMES), pick(NAMES)
        of_keys: list[Write] = [
            *[lambda db: save_key(db, key_id, key_hash, number + 1)] * 3,
            lambda db: db.api_keys.set_enabled(key_id, is_on),
            lambda db: set_key_metadata(db, key_id, number),
            lambda db: db.api_keys.delete_metadata(key_id, "test", "number"),
            lambda db: db.api_keys.delete(key_id),
        ]
        of_models: list[Write] = [
            *[lambda db: save_model(db, model_id, name, number + 1)] * 3,
            lambda db: set_prices(db, model_id, number),
            lambda db: db.models.delete(model_id),
            *[lambda db: save_alias(db, alias_id, alias, model_id, is_on)] * 2,
            lambda db: db.model_aliases.delete(alias_id),
        ]
        return pick(of_keys if self.subjects is HASHES else of_models)

    async def read_until(self, writing: "asyncio.Task[None]") -> None:
        while not writing.done():
            await self.read(self.random.choice(self.subjects))
            await asyncio.sleep(0)
            await self.scheduler.hold()

    async def read(self, subject: str) -> None:
        first = len(self.history) - 1
        value: APIKey | Model | None = None
        try:
            is_key = subject in HASHES
            value = await (self.db.api_keys.get_by_hash if is_key else self.db.models.get_by_name)(subject)
        except NotFoundError:
            pass
        # What is being written now may have been committed.
        self.answers.append(Answer(subject, value, first, len(self.history)))

    async def stored(self) -> State:
        """Every subject as the database has it."""
        is_direct.set(True)
        state: State = {}
        for key_hash in self.subjects if self.subjects is HASHES else ():
            row = await self.db._engine.fetch_one("api_key_find_by_hash", key_hash=key_hash)
            state[key_hash] = None if row is None else api_key_from(row)
        for name in self.subjects if self.subjects is NAMES else ():
            row = await self.db._engine.fetch_one("model_find_by_name", name=name)
            state[name] = None if row is None else model_from(row)
        is_direct.set(False)
        return state

    def cached(self) -> State:
        caches = (self.db._caches.api_keys, self.db._caches.models)
        return {subject: entry.value for cache in caches for subject, entry in cache.values.live.items()}


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@asynccontextmanager
async def simulated(config: DatabaseConfig, subjects: Sequence[str], random: Random) -> AsyncIterator[World]:
    with (
        patch.object(PostgresWatch, "start", AsyncMock()),
        patch.object(SQLiteWatch, "start", AsyncMock()),
    ):
        async with Database(config, clock=ManualClock()) as db:
            world = World(db, subjects, random)
            world.history.append(await world.stored())
            slowed = world.scheduler.slowed
            patches = [patch.object(kind, name, slowed(getattr(kind, name))) for kind, name in SLOWED]
            for each in patches:
                each.start()
            running = asyncio.create_task(world.scheduler.run())
            try:
                yield world
            finally:
                for each in patches:
                    each.stop()
                running.cancel()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("subjects", [HASHES, NAMES], ids=["keys", "models"])
async def test_a_read_gives_what_was_so_while_it_lasted(
    config: DatabaseConfig, subjects: Sequence[str], seed: int
) -> None:
    async with simulated(config, subjects, Random(seed)) as world:
        writing = asyncio.create_task(world.write_all())
        await asyncio.gather(writing, *(world.read_until(writing) for _ in range(READERS)))
        for answer in world.answers:
            possible = [state[answer.subject] for state in world.history[answer.first : answer.last + 1]]
            assert answer.value in possible, f"{answer.subject}: {answer.value} is none of {possible}"
        stats = world.db.stats()
        assert stats.api_key_cache.hits + stats.model_cache.hits > 0
