"""Misses that share queries, under every interleaving: the machine is the database, its outages and the scheduler.

Whatever is in the air, and however it ends: nobody is given a value older than the last invalidation before he asked,
nothing older than the last invalidation is kept, nobody is cancelled but by himself, and nobody waits for ever.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewaydb import DatabaseUnavailableError
from gatewaydb.cache import Memory, ReadThrough
from gatewaydb.engines.coalescing import Coalesced, Lookup, Row
from tests.clock import ManualClock

Value = int | None
KEYS = ("a", "b")
TTL, STALE, ABSENT_TTL = timedelta(seconds=4), timedelta(seconds=6), timedelta(seconds=6)
keys = st.sampled_from(KEYS)
picks = st.integers(0, 1_000)


class BrokenError(Exception):
    """What a query raises for a bad key."""


class Asked(NamedTuple):
    """What was current when somebody asked."""

    key: str
    floor: int


class CoalescedMachine(RuleBasedStateMachine):
    """Nothing runs but in `step`, and no time passes but in `advance`."""

    @initialize(policy=st.sampled_from(["lru", "sieve"]), capacity=st.sampled_from([1, 10]), at_once=st.integers(1, 2))
    def make(self, policy: str, capacity: int, at_once: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.memory = Memory[str, int](
            capacity, TTL, self.clock, policy=policy, stale=STALE, absent_capacity=2, absent_ttl=ABSENT_TTL
        )
        self.at_once = at_once
        self.reader = Coalesced(Lookup(self.find, self.find_many, self.decode), self.clock, at_once)
        self.reader.breaker.start()
        self.reads = ReadThrough(self.memory, self.reader, "things")
        self.history: dict[str, list[Value]] = {key: [n] for n, key in enumerate(KEYS)}
        self.floor = dict.fromkeys(KEYS, 0)
        self.writes = len(KEYS)
        self.gates: list[asyncio.Future[None]] = []
        self.tasks: dict[asyncio.Task[Value], Asked | None] = {}
        self.cancelled: set[asyncio.Task[Value]] = set()
        self.is_down = False
        self.bad: set[str] = set()

    async def find(self, key: str) -> Row | None:
        return (await self.find_many([key])).get(key)

    async def find_many(self, asked: Sequence[str]) -> Mapping[str, Row]:
        assert len(set(asked)) == len(asked)
        rows = {key: {"value": value} for key in asked if (value := self.history[key][-1]) is not None}
        gate: asyncio.Future[None] = self.loop.create_future()
        self.gates.append(gate)
        # One more may be the breaker's probe.
        assert len(self.gates) <= self.at_once + 1
        try:
            await gate
        finally:
            self.gates.remove(gate)
        if self.is_down:
            raise DatabaseUnavailableError("gone")
        if self.bad.intersection(asked):
            raise BrokenError
        return rows

    def decode(self, row: Row, key: str) -> int:
        return int(row["value"])

    async def ask(self, key: str) -> Value:
        task = asyncio.current_task()
        assert task is not None
        self.tasks[task] = Asked(key, self.floor[key])
        entry = self.memory.values.live.get(key)
        if entry is None:
            return await self.reads.fetch(key)
        entry.used = self.memory.values.tick = self.memory.values.tick + 1
        return entry.value

    @rule(
        asked=st.lists(keys, min_size=1, max_size=5),
        turns=st.integers(0, 2),
        lands=st.sampled_from([True, True, False]),
    )
    def start(self, asked: list[str], turns: int, lands: bool) -> None:
        for key in asked:
            self.tasks[self.loop.create_task(self.ask(key))] = None
        self.step(turns)
        if lands:
            self.land_all()

    @rule(turns=st.integers(1, 4))
    def step(self, turns: int) -> None:
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def land_all(self) -> None:
        for _ in range(3):
            self.step(3)
            for gate in self.waiting_gates():
                gate.set_result(None)
        self.step(3)

    @precondition(lambda self: self.waiting_gates())
    @rule(pick=picks, turns=st.integers(0, 3))
    def settle(self, pick: int, turns: int) -> None:
        gates = self.waiting_gates()
        gates[pick % len(gates)].set_result(None)
        self.step(turns)

    @precondition(lambda self: self.unfinished())
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        tasks = self.unfinished()
        task = tasks[pick % len(tasks)]
        if task.cancel():
            self.cancelled.add(task)

    @rule(is_down=st.sampled_from([False, False, True]), bad=st.sets(keys, max_size=1))
    def turn_bad_or_good(self, is_down: bool, bad: set[str]) -> None:
        self.is_down, self.bad = is_down, bad

    @rule(seconds=st.sampled_from([1, 4]), is_cleaned_up=st.booleans())
    def advance(self, seconds: int, is_cleaned_up: bool) -> None:
        self.clock.advance(seconds)
        self.step(2)
        if is_cleaned_up:
            self.memory.cleanup()

    @rule(key=keys, is_deleted=st.booleans(), forgets=st.sampled_from(["some", "one", "none", "all", "some"]))
    def write(self, key: str, is_deleted: bool, forgets: str) -> None:
        """A change of which this process is told, or not yet."""
        self.history[key].append(None if is_deleted else self.writes)
        self.writes += 1
        if forgets == "one":
            self.reads.forget(key)
            self.revoke([key])
        elif forgets == "some":
            self.reads.forget_where(lambda asked, _: asked == key)
            self.revoke([key])
        elif forgets == "all":
            self.reads.forget_all()
            self.revoke(KEYS)

    def revoke(self, changed: Iterable[str]) -> None:
        for key in changed:
            self.floor[key] = len(self.history[key]) - 1

    def waiting_gates(self) -> "list[asyncio.Future[None]]":
        return [gate for gate in self.gates if not gate.done()]

    def unfinished(self) -> "list[asyncio.Task[Value]]":
        return [task for task in self.tasks if not task.done()]

    @invariant()
    def nothing_is_kept_that_is_older_than_the_last_invalidation(self) -> None:
        for key in KEYS:
            entries = [
                self.memory.values.live.get(key),
                self.memory.values.stale(key),
                self.memory.absent.live.get(key),
            ]
            for entry in entries:
                assert entry is None or entry.value in self.history[key][self.floor[key] :]

    @invariant()
    def everyone_gets_what_he_is_due(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            asked = self.tasks.pop(task)
            assert task.cancelled() == (task in self.cancelled), "a cancellation was swallowed, or was somebody else's"
            if task.cancelled():
                continue
            assert asked is not None
            error = task.exception()
            if error is None:
                assert task.result() in self.history[asked.key][asked.floor :], "older than the last invalidation"
            else:
                assert isinstance(error, DatabaseUnavailableError | BrokenError)

    def teardown(self) -> None:
        """When the database answers again, nobody waits, nothing is asked and the breaker is closed."""
        if not hasattr(self, "loop"):
            return
        try:
            self.is_down, self.bad = False, set()
            for _ in range(2 * len(self.tasks) + 20):
                for gate in self.waiting_gates():
                    gate.set_result(None)
                self.step(6)
                self.clock.advance(1)
            self.everyone_gets_what_he_is_due()
            assert (len(self.tasks), len(self.reads._flights), len(self.gates)) == (0, 0, 0)
            assert (self.reads.stats().loads_in_flight, self.reader._free) == (0, self.at_once)
            self.reader.breaker.check()
        finally:
            self.loop.run_until_complete(self.reader.stop(10))
            self.loop.close()


CoalescedMachine.TestCase.settings = settings(
    max_examples=300, stateful_step_count=50, derandomize=True, database=None, deadline=None
)
TestCoalescedReadsUnderEveryInterleaving = CoalescedMachine.TestCase
