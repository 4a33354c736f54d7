import asyncio
from collections.abc import Callable

import pytest

from gatewaydb.engines.changes import NotConnectedError
from gatewaydb.engines.group_commit import GROUP_MAX, GroupCommit
from gatewaydb.errors import DatabaseUnavailableError, GatewayDBError, InvalidValueError


class Store:
    """Takes groups when `let_through` says so; refuses those that hold a bad item."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: dict[int, Exception] = {}
        self.at_once = 0
        self.most_at_once = 0

    async def write(self, items: list[int]) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            for item in items:
                if item in self.bad:
                    raise self.bad[item]
            self.groups.append(items)
        finally:
            self.at_once -= 1


@pytest.fixture
def store() -> Store:
    return Store()


def grouped(store: Store, at_once: int = 1, check: Callable[[], None] = lambda: None) -> GroupCommit[int]:
    return GroupCommit(store.write, check, at_once)


async def test_one_that_comes_alone_goes_at_once(store: Store) -> None:
    group = grouped(store)
    for item in range(5):
        await group.add(item)
    assert store.groups == [[0], [1], [2], [3], [4]]


async def test_a_group_is_what_came_while_the_last_one_was_written(store: Store) -> None:
    store.gate.clear()
    group = grouped(store)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(group.add(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for item in range(1, 10):
            tasks.create_task(group.add(item))
        await asyncio.sleep(0)
        store.gate.set()
    assert store.groups == [[0], list(range(1, 10))]


async def test_many_at_once_are_a_few_bounded_groups(store: Store) -> None:
    group = grouped(store, at_once=2)
    count = 3 * GROUP_MAX + 1
    await asyncio.gather(*(group.add(item) for item in range(count)))
    assert sorted(item for written in store.groups for item in written) == list(range(count))
    assert max(map(len, store.groups)) == GROUP_MAX
    assert store.most_at_once == 2


async def test_one_bad_item_fails_alone(store: Store) -> None:
    store.bad[7] = InvalidValueError("seven")
    results = await asyncio.gather(*map(grouped(store).add, range(20)), return_exceptions=True)
    assert [str(result) for result in results if result] == ["seven"]
    assert sorted(item for written in store.groups for item in written) == [n for n in range(20) if n != 7]


async def test_when_the_database_is_gone_nobody_asks_it_again(store: Store) -> None:
    store.bad[3] = DatabaseUnavailableError("gone")
    results = await asyncio.gather(*map(grouped(store).add, range(8)), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 8
    assert store.groups == []
    await grouped(store).add(9)


async def test_a_caller_that_gives_up_disturbs_nobody(store: Store) -> None:
    store.gate.clear()
    group = grouped(store)
    waiting = [asyncio.create_task(group.add(item)) for item in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    store.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
    assert store.groups == [[0, 1, 2]]


async def test_flush_waits_for_all_that_came_before(store: Store) -> None:
    group = grouped(store)
    tasks = [asyncio.create_task(group.add(item)) for item in range(3)]
    await asyncio.sleep(0)
    await group.flush()
    assert store.groups == [[0, 1, 2]]
    await asyncio.gather(*tasks)


async def test_a_flush_is_bounded_and_who_was_not_written_is_told(store: Store) -> None:
    store.gate.clear()
    group = grouped(store)
    tasks = [asyncio.create_task(group.add(item)) for item in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(group.add(item)) for item in range(3, 6)]
    await asyncio.sleep(0)
    await group.flush(0.01)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailableError] * 3 + [NotConnectedError] * 3
    assert store.groups == []
    store.gate.set()
    await group.add(7)
    assert store.groups == [[7]]


async def test_a_flush_that_is_cancelled_tells_them_too(store: Store) -> None:
    store.gate.clear()
    group = grouped(store)
    task = asyncio.create_task(group.add(1))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(group.flush(), 0.01)
    with pytest.raises(DatabaseUnavailableError, match="closed"):
        await task


async def test_a_writer_that_is_cancelled_leaves_nobody_waiting(store: Store) -> None:
    store.gate.clear()
    group = grouped(store)
    waiting = asyncio.create_task(group.add(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (writer,) = group._writers
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    store.gate.set()
    await group.add(2)
    assert store.groups == [[2]]


async def test_the_check_is_asked_in_the_callers_task(store: Store) -> None:
    def refuse() -> None:
        raise GatewayDBError("not here")

    with pytest.raises(GatewayDBError, match="not here"):
        await grouped(store, check=refuse).add(1)
    assert store.groups == []


async def test_where_an_error_is_the_whole_group_s_no_half_of_it_is_tried(store: Store) -> None:
    store.gate.clear()
    store.bad[3] = GatewayDBError("the disk is full")
    group: GroupCommit[int] = GroupCommit(store.write, lambda: None, 1, fails_whole=(Exception,))
    adding = [asyncio.create_task(group.add(item)) for item in range(5)]
    await asyncio.sleep(0)
    store.gate.set()
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert [str(result) for result in results] == ["the disk is full"] * 5
    assert store.groups == []


async def test_a_group_holds_no_more_than_its_bound(store: Store) -> None:
    group: GroupCommit[int] = GroupCommit(store.write, lambda: None, 1, group_max=2)
    await asyncio.gather(*map(group.add, range(5)))
    assert store.groups == [[0, 1], [2, 3], [4]]
