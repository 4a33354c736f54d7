"""The caches against the database, through the real repositories, under the interleavings that Hypothesis thinks of.

Every statement waits a random number of turns before and after it, so a read can be anywhere while a write commits.
SQLite's threads are replaced by the loop's own, so that a seed is one interleaving; whatever SQLite has run, the
committed state is looked at, which gives the history that reads are compared with.
"""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, patch
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewaydb import (
    AlreadyExistsError,
    APIKey,
    Database,
    DatabaseConfig,
    InvalidValueError,
    Model,
    ModelAlias,
    NotFoundError,
)
from gatewaydb.engines import Row, sqlite_worker
from gatewaydb.engines.sqlite import SQLiteEngine
from gatewaydb.engines.sqlite_changes import SQLiteWatch
from gatewaydb.engines.sqlite_connection import typed_rows
from gatewaydb.engines.sqlite_transaction import SQLiteTransaction
from gatewaydb.repositories import Repositories
from gatewaydb.repositories.rows import api_key_from, model_from
from tests.clock import ManualClock

HASHES = ("hash 1", "hash 2", "hash 3")
NAMES = ("gpt", "opus", "fast", "cheap")
KEY_IDS, MODEL_IDS, ALIAS_IDS = ([UUID(int=first + n) for n in range(2)] for first in (10, 20, 30))
REFUSED = (NotFoundError, AlreadyExistsError, InvalidValueError)

Subject = str
State = dict[Subject, APIKey | Model | None]
READERS = 4
TURNS = (0, 0, 0, 1, 2, 20)
"""How long a statement waits: mostly shortly, at times so long that a whole write goes by."""
NO_WAITING = "PRAGMA synchronous = OFF"


class Step(NamedTuple):
    """A call of a repository."""

    act: Callable[..., Awaitable[Any]]
    arguments: tuple[Any, ...]

    async def run(self, db: Repositories) -> None:
        await self.act(db, *self.arguments)


class Turn(NamedTuple):
    """What one task does next: steps one by one or in a transaction, perhaps cancelled after some turns of the loop."""

    steps: Sequence[Step]
    is_transaction: bool
    is_rolled_back: bool = False
    cancelled_after: int | None = None


async def save_key(db: Repositories, key_id: UUID, key_hash: str, limit: int) -> None:
    try:
        key = await db.api_keys.get_by_id(key_id)
    except NotFoundError:
        await db.api_keys.create(APIKey(id=key_id, name="key", key_hash=key_hash))
    else:
        await db.api_keys.update(replace(key, key_hash=key_hash, rate_limit_per_minute=limit))


async def set_key_metadata(db: Repositories, key_id: UUID, number: int) -> None:
    await db.api_keys.set_metadata(key_id, "test", "number", str(number))


async def save_model(db: Repositories, model_id: UUID, name: str, number: int) -> None:
    try:
        model = await db.models.get_by_id(model_id)
    except NotFoundError:
        prices = {"input_cost_per_token": number}
        await db.models.create(Model(id=model_id, name=name, prices=prices, origin="catalog"))
    else:
        await db.models.update(replace(model, name=name, max_tokens=number))


async def set_prices(db: Repositories, model_id: UUID, number: int) -> None:
    await db.models.set_prices(model_id, {"output_cost_per_token": number})


async def save_alias(db: Repositories, alias_id: UUID, name: str, model_id: UUID, enabled: bool) -> None:
    alias = ModelAlias(id=alias_id, alias=name, model_id=model_id, enabled=enabled)
    try:
        await db.model_aliases.update(alias)
    except NotFoundError:
        await db.model_aliases.create(alias)


key_ids, model_ids, alias_ids = map(st.sampled_from, (KEY_IDS, MODEL_IDS, ALIAS_IDS))
hashes, names, numbers = st.sampled_from(HASHES), st.sampled_from(NAMES), st.integers(1, 9)


def step(act: Callable[..., Awaitable[Any]], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(act), st.tuples(*arguments))


steps = st.one_of(
    step(save_key, key_ids, hashes, numbers),
    step(lambda db, key_id, enabled: db.api_keys.set_enabled(key_id, enabled), key_ids, st.booleans()),
    step(lambda db, key_id: db.api_keys.delete(key_id), key_ids),
    step(set_key_metadata, key_ids, numbers),
    step(save_model, model_ids, names, numbers),
    step(set_prices, model_ids, numbers),
    step(lambda db, model_id: db.models.reset_prices(model_id), model_ids),
    step(lambda db, name: db.models.mark_vanished([name]), names),
    step(lambda db, model_id: db.models.delete(model_id), model_ids),
    step(save_alias, alias_ids, names, model_ids, st.booleans()),
    step(lambda db, alias_id: db.model_aliases.delete(alias_id), alias_ids),
)
turns = st.builds(
    Turn,
    st.lists(steps, min_size=1, max_size=2),
    is_transaction=st.booleans(),
    is_rolled_back=st.sampled_from([False, False, True]),
    cancelled_after=st.sampled_from([None, None, None, 2, 7, 15, 30]),
)
writers = st.lists(st.lists(turns, min_size=5, max_size=8), min_size=2, max_size=4)
FIRST = [
    *(Step(save_key, (*pair, 1)) for pair in zip(KEY_IDS, HASHES, strict=False)),
    *(Step(save_model, (*pair, 1)) for pair in zip(MODEL_IDS, NAMES, strict=False)),
    *(Step(save_alias, (*pair, MODEL_IDS[0], True)) for pair in zip(ALIAS_IDS, NAMES[2:], strict=True)),
]


class World:
    """One database in one process, and the history of what was committed to it."""

    def __init__(self, db: Database, clock: ManualClock, random: Random) -> None:
        assert isinstance(db._engine, SQLiteEngine)
        self.db = db
        self.engine = db._engine
        self.clock = clock
        self.random = random
        self.history: list[State] = []
        self.floor = dict.fromkeys(HASHES + NAMES, 0)
        self.committed: defaultdict[asyncio.Task[Any] | None, dict[Subject, int]] = defaultdict(dict)

    def look(self) -> None:
        """Adds what is committed now, if it is news, and notes whose statement did it."""
        state, before = self.stored(), self.history[-1]
        changed = [subject for subject in state if state[subject] != before[subject]]
        if changed:
            self.committed[asyncio.current_task()] |= dict.fromkeys(changed, len(self.history))
            self.history.append(state)

    def stored(self) -> State:
        """Every subject as the database has it."""
        state: State = {}
        for key_hash in HASHES:
            row = self._row("api_key_find_by_hash", key_hash)
            state[key_hash] = None if row is None else api_key_from(row)
        for name in NAMES:
            row = self._row("model_find_by_name", name)
            state[name] = None if row is None else model_from(row)
        return state

    def _row(self, statement_name: str, value: str) -> Row | None:
        statement = self.engine._statements[statement_name]
        rows = typed_rows(statement, self.engine._point(statement.sql, [value] * len(statement.parameters)))
        return rows[0] if rows else None

    def cached(self) -> State:
        """What the caches would give at once."""
        caches = (self.db._caches.api_keys, self.db._caches.models)
        cached: State = {subject: entry.value for cache in caches for subject, entry in cache.values.live.items()}
        return cached | {subject: None for cache in caches for subject in cache.absent.live}

    async def read(self, subject: Subject) -> None:
        """Fails where the answer is older than the last change that had ended when the read began."""
        floor = self.floor[subject]
        try:
            is_key = subject in HASHES
            answer = await (self.db.api_keys.get_by_hash if is_key else self.db.models.get_by_name)(subject)
        except NotFoundError:
            answer = None
        assert answer in [state[subject] for state in self.history[floor:]], f"{subject}: {answer}"

    async def write(self, turn: Turn) -> None:
        if turn.is_transaction:
            await self._to_its_end(self._in_transaction(turn))
        else:
            for each in turn.steps:
                await self._to_its_end(each.run(self.db))

    async def _in_transaction(self, turn: Turn) -> None:
        async with self.db.transaction() as tx:
            for each in turn.steps:
                await each.run(tx)
            if turn.is_rolled_back:
                raise RolledBackError

    async def _to_its_end(self, writing: Awaitable[None]) -> None:
        """However a write ends, what it has committed is current from then on."""
        self.clock.advance(1)
        try:
            await writing
        except (*REFUSED, RolledBackError):
            pass
        finally:
            for subject, number in self.committed.pop(asyncio.current_task(), {}).items():
                self.floor[subject] = max(self.floor[subject], number)

    async def write_all(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            if turn.cancelled_after is None:
                await self.write(turn)
            else:
                writing = asyncio.create_task(self.write(turn))
                for _ in range(turn.cancelled_after):
                    await asyncio.sleep(0)
                writing.cancel()
                await asyncio.wait([writing])
                assert writing.cancelled() or writing.result() is None

    async def read_until(self, writing: "asyncio.Future[Any]") -> None:
        while not writing.done():
            await self.read(self.random.choice(HASHES + NAMES))
            await self.pause()

    async def pause(self) -> None:
        for _ in range(self.random.choice(TURNS)):
            await asyncio.sleep(0)


class RolledBackError(Exception):
    """What a caller raises in a transaction."""


class InlineThread:
    """Stands in for a worker's thread: runs what it is given at once."""

    after: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:  # noqa: BLE001 - as a thread does
            future.set_exception(error)
        type(self).after()
        return future

    def shutdown(self, wait: bool) -> None:
        pass


def slowed(original: Callable[..., Awaitable[Any]], pause: Callable[[], Awaitable[None]]) -> Any:
    async def run(*args: Any, **values: Any) -> Any:
        await pause()
        result = await original(*args, **values)
        await pause()
        return result

    return run


SLOWED = [
    *((SQLiteEngine, name) for name in ("fetch_one", "fetch_all", "execute")),
    *((SQLiteTransaction, name) for name in ("fetch_all", "execute", "execute_many", "control")),
]


async def play(path: Path, capacity: int, writers: Sequence[Sequence[Turn]], random: Random) -> None:
    clock = ManualClock()
    config = DatabaseConfig(url=f"sqlite:///{path}", api_key_cache_size=capacity, model_cache_size=capacity)
    watch_for_others = patch.object(SQLiteWatch, "start", AsyncMock())  # it would mend what is broken here
    with patch.object(sqlite_worker, "ThreadPoolExecutor", InlineThread), watch_for_others:
        async with Database(config, clock=clock) as db:
            world = World(db, clock, random)
            # Waiting for the disk takes most of the time and changes nothing here.
            await world.engine._writer.run_when_free(lambda writer: writer.execute(NO_WAITING), NO_WAITING, None)
            await world.write(Turn(FIRST, is_transaction=True))
            world.history.append(world.stored())
            with ExitStack() as stack:
                stack.enter_context(patch.object(InlineThread, "after", world.look))
                for owner, name in SLOWED:
                    stack.enter_context(patch.object(owner, name, slowed(getattr(owner, name), world.pause)))
                writing = asyncio.gather(*(world.write_all(turns) for turns in writers))
                await asyncio.gather(writing, *(world.read_until(writing) for _ in range(READERS)))
            state = world.stored()
            assert world.cached().items() <= state.items()
            for subject in state:
                await world.read(subject)


@settings(max_examples=120, derandomize=True, database=None, deadline=None)
@given(capacity=st.sampled_from([1, 2, 100]), writers=writers, seed=st.integers(0, 2**32))
def test_no_read_is_older_than_a_write_that_has_returned(
    sqlite_template: Path, capacity: int, writers: Sequence[Sequence[Turn]], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(sqlite_template, folder))
        asyncio.run(play(path, capacity, writers, Random(seed)))
