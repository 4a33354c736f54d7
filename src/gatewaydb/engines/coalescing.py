"""Many single reads as few queries.

As in group_commit there is no timer: a batch is what arrived while those before it were being asked. A read that comes
alone goes at once, by itself; under load, a batch is one query by `= ANY`. At most `queries_at_once` are being asked at
a time, whoever asks for what: a flood of misses takes no more connections than that from everybody else.

Each of a batch has a future of its own, so a caller who is cancelled takes nothing from the others. What arrives later
goes with a later query, even for the same key: nobody is given what was read before he asked.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from gatewaydb.clock import Clock
from gatewaydb.engines.breaker import OUTAGE, Breaker

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)

Row = dict[str, Any]
_Askers = dict[K, list["asyncio.Future[V | None]"]]
BATCH_MAX = 256
# Decoding a batch of models takes many milliseconds; others on the loop get their turn in between.
TURN_S = 0.001


class Lookup(NamedTuple, Generic[K, V]):
    """How one key is found, how many are, by key, and what a key's row means. `decode` may change the row."""

    find: Callable[[K], Awaitable[Row | None]]
    find_many: Callable[[Sequence[K]], Awaitable[Mapping[K, Row]]]
    decode: Callable[[Row, K], V]

    async def load(self, key: K) -> V | None:
        """One key's value, by a query of its own."""
        row = await self.find(key)
        return None if row is None else self.decode(row, key)


class Reader(Protocol[K_contra, V_co]):
    """Where the values of single keys come from."""

    coalesced: int

    async def load(self, key: K_contra, /) -> V_co | None:
        """The value, or None where there is none."""


class Direct(Generic[K, V]):
    """One query each: where reads do not wait for each other, and inside a transaction."""

    coalesced = 0

    def __init__(self, lookup: Lookup[K, V]) -> None:
        self.load = lookup.load


class Coalesced(Generic[K, V]):
    """At most `queries_at_once`, as above. While the database is down, every read fails at once."""

    def __init__(self, lookup: Lookup[K, V], clock: Clock, queries_at_once: int) -> None:
        self.coalesced = 0
        self.breaker = Breaker(clock)
        self._lookup = lookup
        self._clock = clock
        self._free = queries_at_once
        self._waiting: deque[tuple[K, asyncio.Future[V | None]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self, key: K) -> V | None:
        """The value, or None where there is none. Raises what the query raised."""
        self.breaker.check()
        if self._free == 0:
            answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, answer))
            return await answer
        self._free -= 1
        try:
            return await self._lookup.load(key)
        except Exception as error:
            self._note(error, key)
            raise
        finally:
            self._free += 1
            self._go_on()

    async def stop(self, timeout_s: float) -> None:
        """Returns when nobody is waiting for an answer and nothing is being asked for them, or after `timeout_s`."""
        await self.breaker.stop()
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._tasks and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=None if left_s == math.inf else left_s)

    def forget(self) -> None:
        """Drops what was asked on an event loop that has ended."""
        self._free += len(self._tasks)
        self._tasks.clear()
        self._waiting.clear()
        self.breaker.forget()

    def _go_on(self) -> None:
        if self._waiting and self._free:
            self._free -= 1
            task = asyncio.create_task(self._answer_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._free += 1
        if task.cancelled():
            for _, answer in self._waiting:
                answer.cancel()
            self._waiting.clear()
        self._go_on()

    async def _answer_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
            askers: _Askers[K, V] = {}
            for key, answer in batch:
                if not answer.done():  # its caller was cancelled
                    askers.setdefault(key, []).append(answer)
            if not askers:
                continue
            self.coalesced += len(batch) - 1
            try:
                await self._answer(askers)
            except BaseException:
                for _, answer in batch:
                    answer.cancel()
                raise

    async def _answer(self, askers: "_Askers[K, V]") -> None:
        keys = list(askers)
        try:
            self.breaker.check()
            rows = await self._lookup.find_many(keys)
        except Exception as error:  # noqa: BLE001 - it is handed to whom it concerns
            self._note(error, keys[0])
            if len(keys) == 1 or isinstance(error, OUTAGE):
                for answers in askers.values():
                    _settle(answers, error)
                return
            # One of them is to blame: halves of halves find it, and the others are answered.
            middle = len(keys) // 2
            await self._answer({key: askers[key] for key in keys[:middle]})
            await self._answer({key: askers[key] for key in keys[middle:]})
        else:
            await self._decode(rows, askers)

    async def _decode(self, rows: Mapping[K, Row], askers: "_Askers[K, V]") -> None:
        turn_ends = self._clock.monotonic() + TURN_S
        for key, answers in askers.items():
            row = rows.get(key)
            try:
                _settle(answers, None if row is None else self._lookup.decode(row, key))
            except Exception as error:  # noqa: BLE001 - it is handed to whom it concerns
                _settle(answers, error)
            if self._clock.monotonic() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = self._clock.monotonic() + TURN_S

    def _note(self, error: Exception, key: K) -> None:
        self.breaker.note(error, lambda: self._lookup.find(key))


def _settle(answers: Sequence["asyncio.Future[V | None]"], outcome: V | Exception | None) -> None:
    for answer in answers:
        if answer.done():  # its caller was cancelled
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
