"""What the tests of the recorder share: a database that takes, refuses, hangs or is gone, as the test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gatewaydb import (
    UsageRecord,
    UsageRecorder,
)
from gatewaydb.config import SHIPPING_BACKOFF_MAX
from gatewaydb.entities.base import new_id
from tests.clock import ManualClock, until

KEY = new_id()
PAST_ANY_BACKOFF = SHIPPING_BACKOFF_MAX.total_seconds() + 1


class Store:
    """Stands in for `db.usage`: keeps what it takes, in order."""

    def __init__(self) -> None:
        self.batches: list[list[UsageRecord]] = []
        self.gone: Exception | None = None
        self.bad: dict[str, Exception] = {}
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def create_many(self, records: Sequence[UsageRecord]) -> int:
        self.calls += 1
        await self.gate.wait()
        if self.gone is not None:
            raise self.gone
        for each in records:
            if each.request_id in self.bad:
                raise self.bad[str(each.request_id)]
        if records:
            self.batches.append(list(records))
        return len(records)

    @property
    def names(self) -> list[str | None]:
        return [each.request_id for batch in self.batches for each in batch]


def record(name: str, **fields: Any) -> UsageRecord:
    return UsageRecord(api_key_id=KEY, request_id=name, **fields)


Make = Callable[..., UsageRecorder]


def assert_balance(recorder: UsageRecorder) -> None:
    """Nothing is dropped, and all that was taken is somewhere."""
    stats = recorder.stats()
    assert stats.dropped == 0
    parts = stats.shipped + stats.rejected + stats.quarantined + stats.backlog_records
    assert stats.found + stats.recorded == parts


async def failed(clock: ManualClock) -> None:
    """Shipping has failed and waits for its next attempt."""
    await until(lambda: bool(clock._timers))


async def recover(store: Store, clock: ManualClock) -> None:
    """The database is back, and is asked again."""
    await failed(clock)
    store.gone = None
    clock.advance(PAST_ANY_BACKOFF)


async def record_as_one_batch(recorder: UsageRecorder, store: Store, count: int) -> None:
    """All but the first come while that is being shipped."""
    store.gate.clear()
    await recorder.record(record("first"))
    await until(lambda: store.calls == 1)
    await asyncio.gather(*(recorder.record(record(f"{number}")) for number in range(count)))
    store.gate.set()


async def filled(recorder: UsageRecorder, tasks: list[asyncio.Task[None]]) -> None:
    """Who is not done waits for room."""
    await until(lambda: sum(task.done() for task in tasks) + recorder.stats().waiting == len(tasks))


def large(number: int, size: int = 6_000) -> UsageRecord:
    return record(f"{number}", request_metadata={"prompt": "x" * size})
