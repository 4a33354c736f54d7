"""Reads through a cache, in front of a store of the test's making."""

from datetime import timedelta

import pytest

from gatewaydb.cache import Memory, ReadThrough
from tests.clock import ManualClock
from tests.unit.cache.reading import ABSENT_TTL_S, STALE_S, TTL_S, Store


@pytest.fixture
async def store() -> Store:
    """Its gate is closed."""
    return Store()


@pytest.fixture
def memory(clock: ManualClock) -> Memory[str, int]:
    return Memory(
        10,
        timedelta(seconds=TTL_S),
        clock,
        stale=timedelta(seconds=STALE_S),
        absent_capacity=3,
        absent_ttl=timedelta(seconds=ABSENT_TTL_S),
    )


@pytest.fixture
def reads(memory: Memory[str, int], store: Store) -> ReadThrough[str, int]:
    return ReadThrough(memory, store, "things")
