import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from gatewaydb import DatabaseUnavailableError, InvalidValueError, QueryTimeoutError
from gatewaydb.engines.coalescing import BATCH_MAX, Coalesced, Direct, Lookup, Row
from tests.clock import ManualClock

Task = asyncio.Task[int | None]


class Table:
    """Rows for every number below 1,000. A query begins at once and ends when `gate` is open."""

    def __init__(self) -> None:
        self.queries: list[list[int]] = []
        self.now = self.most = 0
        self.gate = asyncio.Event()
        self.bad: set[int] = set()
        self.undecodable: set[int] = set()
        self.error: Exception | None = None

    async def find(self, key: int) -> Row | None:
        return (await self.find_many([key])).get(key)

    async def find_many(self, keys: Sequence[int]) -> Mapping[int, Row]:
        self.queries.append(list(keys))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        if self.error is not None:
            raise self.error
        if self.bad.intersection(keys):
            raise InvalidValueError("one of these is bad")
        return {key: {"value": key} for key in keys if key < 1_000}

    def decode(self, row: Row, key: int) -> int:
        if key in self.undecodable:
            raise ValueError("no number")
        return int(row["value"])

    def lookup(self) -> Lookup[int, int]:
        return Lookup(self.find, self.find_many, self.decode)


@pytest.fixture
async def table() -> Table:
    """Its gate is closed."""
    return Table()


@pytest.fixture
async def reader(table: Table, clock: ManualClock) -> AsyncIterator[Coalesced[int, int]]:
    reader = Coalesced(table.lookup(), clock, queries_at_once=2)
    reader.breaker.start()
    yield reader
    table.gate.set()
    await reader.stop(10)


async def begin(reader: Coalesced[int, int], keys: Sequence[int]) -> list[Task]:
    """A caller for each, who all wait when this returns."""
    tasks = [asyncio.create_task(reader.load(key)) for key in keys]
    await turns()
    return tasks


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_alone_goes_at_once_and_by_himself(reader: Coalesced[int, int], table: Table) -> None:
    table.gate.set()
    for key in (1, 2, 3):
        assert await reader.load(key) == key
    assert table.queries == [[1], [2], [3]]
    assert not reader._tasks
    assert reader.coalesced == 0


async def test_what_arrives_while_others_are_asked_is_one_query(reader: Coalesced[int, int], table: Table) -> None:
    tasks = await begin(reader, range(202))
    assert table.queries == [[0], [1]]
    table.gate.set()
    assert await asyncio.gather(*tasks) == list(range(202))
    assert table.queries == [[0], [1], list(range(2, 202))]
    assert reader.coalesced == 199


async def test_a_flood_of_made_up_keys_takes_no_more_than_queries_at_once(
    reader: Coalesced[int, int], table: Table
) -> None:
    tasks = await begin(reader, range(10_000, 12_000))
    table.gate.set()
    assert await asyncio.gather(*tasks) == [None] * 2_000
    assert table.most == 2
    assert max(map(len, table.queries)) == BATCH_MAX
    assert len(table.queries) <= 2 + 2_000 / BATCH_MAX + 2


async def test_one_key_twice_in_a_batch_is_asked_for_once(reader: Coalesced[int, int], table: Table) -> None:
    tasks = await begin(reader, [1, 2, 7, 7, 8])
    table.gate.set()
    assert await asyncio.gather(*tasks) == [1, 2, 7, 7, 8]
    assert table.queries[2:] == [[7, 8]]


async def test_who_asks_while_his_key_is_being_asked_for_gets_a_later_answer(
    reader: Coalesced[int, int], table: Table
) -> None:
    tasks = await begin(reader, [1, 2, 1])
    table.gate.set()
    await asyncio.gather(*tasks)
    assert table.queries == [[1], [2], [1]]


@pytest.mark.parametrize("cancelled", [0, 1, 2, 3])
async def test_a_cancelled_caller_disturbs_nobody(reader: Coalesced[int, int], table: Table, cancelled: int) -> None:
    """Two are asked by themselves, two wait for the batch."""
    tasks = await begin(reader, range(4))
    tasks.pop(cancelled).cancel()
    await turns()
    table.gate.set()
    assert await asyncio.gather(*tasks) == [key for key in range(4) if key != cancelled]


async def test_all_of_a_batch_may_be_cancelled(reader: Coalesced[int, int], table: Table) -> None:
    tasks = await begin(reader, range(5))
    for task in tasks:
        task.cancel()
    await turns()
    assert (table.queries, table.now) == ([[0], [1]], 0)
    table.gate.set()
    assert await reader.load(9) == 9


async def test_one_bad_key_fails_alone(reader: Coalesced[int, int], table: Table) -> None:
    table.bad = {5}
    tasks = await begin(reader, range(10))
    table.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(5), InvalidValueError)
    assert results == [0, 1, 2, 3, 4, 6, 7, 8, 9]


async def test_one_row_that_cannot_be_read_fails_alone(reader: Coalesced[int, int], table: Table) -> None:
    table.undecodable = {1, 5}
    tasks = await begin(reader, range(10))
    table.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [key for key, result in enumerate(results) if isinstance(result, ValueError)] == [1, 5]
    assert [result for result in results if isinstance(result, int)] == [0, 2, 3, 4, 6, 7, 8, 9]


async def test_decoding_a_large_batch_gives_the_loop_back(table: Table) -> None:
    """A row that takes half a millisecond: others run after every second one."""
    clock = ManualClock()
    turns_of_others = 0

    def decode(row: Row, key: int) -> int:
        clock.advance(0.0005)
        return key

    async def other() -> None:
        nonlocal turns_of_others
        while True:
            await asyncio.sleep(0)
            turns_of_others += 1

    reader = Coalesced(Lookup(table.find, table.find_many, decode), clock, queries_at_once=1)
    tasks = await begin(reader, range(101))
    table.gate.set()
    running = asyncio.create_task(other())
    await asyncio.gather(*tasks)
    running.cancel()
    assert turns_of_others >= 50


@pytest.mark.parametrize("error", [DatabaseUnavailableError("gone"), QueryTimeoutError("slow")])
async def test_an_outage_reaches_all_who_wait_and_nobody_waits_for_another_timeout(
    reader: Coalesced[int, int], table: Table, error: Exception
) -> None:
    table.error = error
    tasks = await begin(reader, range(600))
    table.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[:2] == [error, error]
    assert all(isinstance(result, DatabaseUnavailableError) for result in results[2:])
    asked = len(table.queries)
    with pytest.raises(DatabaseUnavailableError, match=f"{error}"):
        await reader.load(7)
    assert len(table.queries) == asked <= 3


async def test_a_cancelled_batch_leaves_nobody_waiting(reader: Coalesced[int, int], table: Table) -> None:
    """As when the loop is shut down."""
    first, waiting = await begin(reader, [1, 2]), await begin(reader, [3, 4])
    table.gate.set()
    table.gate = asyncio.Event()
    await asyncio.gather(*first)
    await turns()
    assert table.queries[2:] == [[3, 4]]
    for task in reader._tasks:
        task.cancel()
    await turns()
    assert all(task.cancelled() for task in waiting)
    table.gate.set()
    assert await reader.load(5) == 5


async def test_direct_reads_are_a_query_each(table: Table) -> None:
    reader = Direct(table.lookup())
    table.gate.set()
    assert [await reader.load(1), await reader.load(5_000)] == [1, None]
    assert table.queries == [[1], [5_000]]
