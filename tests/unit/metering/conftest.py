"""A recorder in front of a database of the test's making."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatewaydb import (
    UsageRecorder,
)
from tests.clock import ManualClock
from tests.unit.metering.recording import Make, Store


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
async def make(store: Store, folder: Path, clock: ManualClock) -> AsyncIterator[Make]:
    opened: set[UsageRecorder] = set()

    def making(**settings: Any) -> UsageRecorder:
        return UsageRecorder(store, folder, clock=clock, opened=opened, **settings)

    yield making
    store.gate.set()
    for each in list(opened):
        await each.close()
    assert not opened


@pytest.fixture
def recorder(make: Make) -> UsageRecorder:
    return make()
