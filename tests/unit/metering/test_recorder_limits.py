# ruff: noqa: ASYNC240 - a test has nobody else to wait for it
"""A recorder whose journal is full, damaged or in use, and one that closes."""

import asyncio
import errno
import json
import logging
import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from gatewaydb import (
    ConfigurationError,
    DatabaseUnavailableError,
    GatewayDBError,
    InvalidValueError,
    UsageBacklogFull,
    UsageJournalError,
    UsageRecorder,
)
from gatewaydb.config import JOURNAL_MIN_BYTES, SHIPPING_BACKOFF_FIRST
from gatewaydb.metering import files
from gatewaydb.metering import recorder as module
from tests.clock import ManualClock, until
from tests.unit.metering.recording import (
    Make,
    Store,
    assert_balance,
    failed,
    filled,
    large,
    record,
    recover,
)


async def test_a_full_journal_makes_callers_wait_in_order_until_there_is_room(
    make: Make, store: Store, clock: ManualClock
) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    store.gone = DatabaseUnavailableError("gone")
    tasks = [asyncio.create_task(recorder.record(large(number))) for number in range(20)]
    await filled(recorder, tasks)
    stats = recorder.stats()
    assert stats.waiting == sum(not task.done() for task in tasks) > 0
    assert stats.backlog_bytes <= stats.max_bytes
    await recover(store, clock)
    await asyncio.gather(*tasks)
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(20)]
    assert_balance(recorder)


async def test_one_who_waits_and_is_cancelled_leaves_the_room_to_others(
    make: Make, store: Store, clock: ManualClock
) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    store.gone = DatabaseUnavailableError("gone")
    tasks = [asyncio.create_task(recorder.record(large(number))) for number in range(20)]
    await filled(recorder, tasks)
    waiting = [number for number, task in enumerate(tasks) if not task.done()]
    for number in waiting[::2]:
        tasks[number].cancel()
    await recover(store, clock)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await recorder.flush()
    assert [place for place, result in enumerate(results) if result is not None] == waiting[::2]
    assert store.names == [f"{number}" for number in range(20) if number not in waiting[::2]]


async def test_a_record_that_needs_the_room_of_one_that_is_shipped_gets_it(make: Make, store: Store) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    for number in range(3):
        await recorder.record(large(number, JOURNAL_MIN_BYTES * 2 // 3))
    await recorder.flush()
    assert store.names == ["0", "1", "2"]
    with pytest.raises(InvalidValueError, match="in the journal, 65536 are the most"):
        await recorder.record(large(3, JOURNAL_MIN_BYTES))


async def test_a_full_journal_raises_by_choice(make: Make, store: Store, clock: ManualClock) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES, when_full="raise")
    store.gone = DatabaseUnavailableError("gone")
    results = await asyncio.gather(*(recorder.record(large(n)) for n in range(20)), return_exceptions=True)
    refused = [number for number, result in enumerate(results) if isinstance(result, UsageBacklogFull)]
    assert 0 < len(refused) < 20
    assert recorder.stats().recorded == 20 - len(refused)
    await recover(store, clock)
    await recorder.flush()
    await recorder.record(large(20))
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(21) if number not in refused]


async def test_closing_ships_what_it_can_and_leaves_nothing_behind(
    recorder: UsageRecorder, store: Store, folder: Path
) -> None:
    async with recorder:
        await recorder.record(record("0"))
    assert store.names == ["0"]
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "shipped"]
    await recorder.close()
    for call in (recorder.open, recorder.flush, lambda: recorder.record(record("1"))):
        with pytest.raises(GatewayDBError, match="this recorder was closed"):
            await call()
    assert_balance(recorder)


async def test_closing_without_a_database_leaves_the_rest_to_the_next_who_ships_it(
    make: Make, store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.gone = DatabaseUnavailableError("gone")
    first = make()
    await asyncio.gather(*(first.record(record(f"{number}")) for number in range(5)))
    await first.close()
    assert first.stats().backlog_records == 5
    assert f"5 records are left in {folder}" in caplog.text
    store.gone = None
    async with make() as second:
        await second.record(record("5"))
        await second.flush()
        assert (second.stats().found, second.stats().recorded, second.stats().shipped) == (5, 1, 6)
        assert_balance(second)
    assert store.names == [f"{number}" for number in range(6)]


async def test_closing_waits_no_longer_than_its_bound_for_a_database_that_hangs(
    recorder: UsageRecorder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORDER_CLOSE_TIMEOUT", SHIPPING_BACKOFF_FIRST)
    store.gate.clear()
    await recorder.record(record("0"))
    flushing = asyncio.create_task(recorder.flush())
    await until(lambda: store.calls == 1)
    await recorder.close()
    assert recorder.stats().backlog_records == 1
    with pytest.raises(GatewayDBError, match="closed before everything was in the database"):
        await flushing


async def test_closing_refuses_those_who_wait_for_room(make: Make, store: Store) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    store.gone = DatabaseUnavailableError("gone")
    tasks = [asyncio.create_task(recorder.record(large(number))) for number in range(20)]
    await filled(recorder, tasks)
    recorded = recorder.stats().recorded
    await recorder.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * recorded + [GatewayDBError] * (20 - recorded)


async def test_a_disk_that_takes_nothing_refuses_and_a_later_record_goes_on(
    recorder: UsageRecorder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await recorder.record(record("before"))

    def full(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync", full)
        results = await asyncio.gather(*(recorder.record(record(f"{n}")) for n in range(9)), return_exceptions=True)
    assert all(isinstance(result, UsageJournalError) for result in results)
    await recorder.record(record("after"))
    await recorder.flush()
    assert store.names == ["before", "after"]
    assert recorder.stats().recorded == 2
    assert_balance(recorder)


async def test_damage_is_quarantined_with_its_place_and_the_rest_ships(
    make: Make, store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.gone = DatabaseUnavailableError("gone")
    first = make()
    for number in range(3):
        await first.record(record(f"{number}"))
    await first.close()
    [segment] = folder.glob("0*")
    data = bytearray(segment.read_bytes())
    size = len(data) // 3
    data[size + 9] ^= 1
    segment.write_bytes(data + data[: size // 2])
    store.gone = None
    async with make() as second:
        await second.flush()
        stats = second.stats()
        assert (stats.found, stats.shipped, stats.quarantined, stats.torn) == (3, 2, 1, 1)
        assert_balance(second)
    assert store.names == ["0", "2"]
    [line] = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert (line["segment"], line["offset"]) == (segment.name, size)
    assert b64decode(line["data"]) == data[size : 2 * size]
    assert "torn frame" in caplog.text
    assert "damaged: a checksum does not fit" in caplog.text


async def test_a_whole_frame_that_is_no_record_is_rejected(make: Make, store: Store, folder: Path) -> None:
    recorder = make()
    await recorder.open()
    await recorder._group.add(b"\xc1 no MessagePack")
    await recorder.record(record("1"))
    await recorder.flush()
    assert (store.names, recorder.stats().rejected) == (["1"], 1)
    assert b64decode(json.loads((folder / "quarantine.jsonl").read_text())["data"]) == b"\xc1 no MessagePack"


async def test_records_whose_file_somebody_removed_are_counted_as_dropped(
    make: Make, store: Store, folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make()
    store.gone = DatabaseUnavailableError("gone")
    await asyncio.gather(*(recorder.record(record(f"{number}")) for number in range(5)))
    await failed(clock)
    [segment] = folder.glob("0*")
    segment.unlink()
    await recover(store, clock)
    await recorder.flush()
    assert recorder.stats().dropped == 5
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR] == [
        f"journal {folder}: 5 records are gone from {segment.name}"
    ]


async def test_a_journal_in_use_is_an_error_that_names_it_and_opens_later(
    make: Make, store: Store, folder: Path
) -> None:
    async with make() as first:
        second = make()
        with pytest.raises(UsageJournalError, match=f"{folder} is in use by process {os.getpid()}"):
            await second.record(record("0"))
        await first.record(record("1"))
    await second.record(record("2"))
    await second.flush()
    assert store.names == ["1", "2"]


@pytest.mark.parametrize("settings", [{"max_bytes": 1}, {"when_full": "drop"}])
async def test_impossible_settings_are_refused(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        make(**settings)
