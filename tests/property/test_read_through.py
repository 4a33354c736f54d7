"""Reading through the cache under every interleaving: the machine is the store and the event loop's scheduler."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewaydb.cache import Memory, ReadThrough
from tests.clock import ManualClock

T = TypeVar("T")
Value = int | None

KEYS = ("a", "b")
keys = st.sampled_from(KEYS)
picks = st.integers(0, 1_000)


class BrokenError(Exception):
    """What a load raises."""


class Load:
    """One load: it has read the store already, and suspends until the machine lets it land."""

    def __init__(self, key: str, value: Value, pilot: "asyncio.Task[Value] | None") -> None:
        self.key = key
        self.value = value
        self.pilot = pilot
        self.gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_revoked = False
        self.error: BrokenError | None = None
        self.has_landed = False


class Asked(NamedTuple):
    """Whoever asks for a key: what was current then, and the load that he found in the air."""

    key: str
    floor: int
    load: Load | None


class ReadThroughMachine(RuleBasedStateMachine):
    """Nothing runs but in `step`, which is one turn of the loop for each task that can go on. Time stands still."""

    coalesced = 0

    @initialize()
    def make(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.memory = Memory[str, int](
            10, timedelta(0), ManualClock(), absent_capacity=10, absent_ttl=timedelta(seconds=1)
        )
        self.reads = ReadThrough(self.memory, self, "things")
        self.history: dict[str, list[Value]] = {key: [n] for n, key in enumerate(KEYS)}
        self.writes = len(KEYS)
        self.floor = dict.fromkeys(KEYS, 0)
        self.expected: dict[str, Value] = {}
        self.in_the_air: list[Load] = []
        self.tasks: dict[asyncio.Task[Value], Asked | None] = {}
        self.cancelled: set[asyncio.Task[Value]] = set()

    async def load(self, key: str) -> Value:
        assert self.on_board(key) is None, "two loads of one key without an invalidation in between"
        load = Load(key, self.history[key][-1], asyncio.current_task())
        self.in_the_air.append(load)
        try:
            await load.gate
        finally:
            self.in_the_air.remove(load)
        load.has_landed = True
        if load.error is not None:
            raise load.error
        if not load.is_revoked:
            self.expected[key] = load.value
        return load.value

    def on_board(self, key: str) -> Load | None:
        return next((load for load in self.in_the_air if load.key == key and not load.is_revoked), None)

    async def ask(self, key: str, is_cleaning_up: bool) -> Value:
        task = asyncio.current_task()
        assert task is not None
        if is_cleaning_up:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        self.tasks[task] = Asked(key, self.floor[key], self.on_board(key))
        entry = self.memory.values.live.get(key)
        return await self.reads.fetch(key) if entry is None else entry.value

    @rule(key=keys, number=st.integers(1, 3), is_cleaning_up=st.booleans(), turns=st.integers(0, 2))
    def start(self, key: str, number: int, is_cleaning_up: bool, turns: int) -> None:
        """Some were cancelled before, and read on their way out."""
        for _ in range(number):
            self.tasks[self.loop.create_task(self.ask(key, is_cleaning_up))] = None
        self.step(turns)

    @rule(turns=st.integers(1, 4))
    def step(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    @precondition(lambda self: self.waiting_gates())
    @rule(pick=picks, fails=st.sampled_from([False, False, True]), turns=st.integers(0, 2))
    def settle(self, pick: int, fails: bool, turns: int) -> None:
        load = chosen(self.waiting_gates(), pick)
        load.error = BrokenError() if fails else None
        load.gate.set_result(None)
        self.step(turns)

    @precondition(lambda self: self.waiting_gates())
    @rule(pick=picks)
    def cancel_pilot(self, pick: int) -> None:
        pilot = chosen(self.in_the_air, pick).pilot
        assert pilot is not None
        self.cancel(pilot)

    @precondition(lambda self: self.unfinished())
    @rule(pick=picks)
    def cancel_anyone(self, pick: int) -> None:
        self.cancel(chosen(self.unfinished(), pick))

    def cancel(self, task: "asyncio.Task[Value]") -> None:
        # A task that has not asked yet has nobody to disturb.
        if self.tasks[task] is not None and task.cancel():
            self.cancelled.add(task)

    @rule(key=keys, is_deleted=st.booleans())
    def write(self, key: str, is_deleted: bool) -> None:
        self.history[key].append(None if is_deleted else self.writes)
        self.writes += 1

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.reads.forget(key)
        self.revoke([key], [load for load in self.in_the_air if load.key == key])

    @rule(unwanted=st.sets(keys))
    def forget_where(self, unwanted: set[str]) -> None:
        self.reads.forget_where(lambda key, _: key in unwanted)
        absent = {key for key, value in self.expected.items() if value is None}
        self.revoke(unwanted | absent, self.in_the_air)

    @rule()
    def forget_all(self) -> None:
        self.reads.forget_all()
        self.revoke(KEYS, self.in_the_air)

    def revoke(self, changed: Iterable[str], loads: Iterable[Load]) -> None:
        for key in changed:
            self.floor[key] = len(self.history[key]) - 1
            self.expected.pop(key, None)
        for load in loads:
            load.is_revoked = True

    def waiting_gates(self) -> list[Load]:
        return [load for load in self.in_the_air if not load.gate.done()]

    def unfinished(self) -> "list[asyncio.Task[Value]]":
        return [task for task in self.tasks if not task.done()]

    @invariant()
    def the_cache_holds_what_landed_and_was_not_revoked(self) -> None:
        cached: dict[str, Value] = {key: entry.value for key, entry in self.memory.values.live.items()}
        assert cached | dict.fromkeys(self.memory.absent.live) == self.expected

    @invariant()
    def everyone_gets_what_he_is_due(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            asked = self.tasks.pop(task)
            assert task.cancelled() == (task in self.cancelled), "a cancellation was swallowed, or was somebody else's"
            if task.cancelled():
                continue
            assert asked is not None
            error = task.exception()
            assert error is None or isinstance(error, BrokenError)
            if asked.load is not None and asked.load.has_landed:
                assert error is asked.load.error
            if error is None:
                assert task.result() in self.history[asked.key][asked.floor :], "older than the last invalidation"

    def teardown(self) -> None:
        """When every load has landed, nobody waits and no flight is left."""
        if not hasattr(self, "loop"):
            return
        try:
            for _ in range(len(self.tasks) + 1):
                for load in self.waiting_gates():
                    load.gate.set_result(None)
                self.step(6)
            self.everyone_gets_what_he_is_due()
            assert (len(self.tasks), len(self.reads._flights)) == (0, 0)
        finally:
            self.loop.close()


def chosen(among: list[T], pick: int) -> T:
    return among[pick % len(among)]


ReadThroughMachine.TestCase.settings = settings(
    max_examples=250, stateful_step_count=50, derandomize=True, database=None, deadline=None
)
TestReadThroughUnderEveryInterleaving = ReadThroughMachine.TestCase
