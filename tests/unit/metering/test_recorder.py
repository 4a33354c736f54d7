# ruff: noqa: ASYNC240 - a test has nobody else to wait for it
"""A recorder in front of a database that takes, refuses, hangs or is gone, as the test says."""

import asyncio
import errno
import json
import logging
import os
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gatewaydb import (
    ConfigurationError,
    DatabaseUnavailableError,
    GatewayDBError,
    InvalidValueError,
    QueryTimeoutError,
    UsageBacklogFull,
    UsageJournalError,
    UsageRecord,
    UsageRecorder,
)
from gatewaydb.config import JOURNAL_MIN_BYTES, SHIPPING_BACKOFF_FIRST, SHIPPING_BACKOFF_MAX
from gatewaydb.entities.base import new_id
from gatewaydb.metering import files
from gatewaydb.metering import recorder as module
from gatewaydb.metering.shipper import decoded, encoded
from gatewaydb.pricing import BillableUsage
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


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


Make = Callable[..., UsageRecorder]


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


def _balance(recorder: UsageRecorder) -> None:
    stats = recorder.stats()
    assert stats.dropped == 0
    parts = stats.shipped + stats.rejected + stats.quarantined + stats.backlog_records
    assert stats.found + stats.recorded == parts


async def _failed(clock: ManualClock) -> None:
    """Shipping has failed and waits for its next attempt."""
    await until(lambda: bool(clock._timers))


async def _recover(store: Store, clock: ManualClock) -> None:
    await _failed(clock)
    store.gone = None
    clock.advance(PAST_ANY_BACKOFF)


async def _record_as_one_batch(recorder: UsageRecorder, store: Store, count: int) -> None:
    """All but the first come while that is being shipped."""
    store.gate.clear()
    await recorder.record(record("first"))
    await until(lambda: store.calls == 1)
    await asyncio.gather(*(recorder.record(record(f"{number}")) for number in range(count)))
    store.gate.set()


async def _filled(recorder: UsageRecorder, tasks: list[asyncio.Task[None]]) -> None:
    """Who is not done waits for room."""
    await until(lambda: sum(task.done() for task in tasks) + recorder.stats().waiting == len(tasks))


async def test_it_opens_with_the_first_record_and_ships_in_order(
    recorder: UsageRecorder, store: Store, folder: Path
) -> None:
    assert not folder.exists()
    for number in range(20):
        await recorder.record(record(f"{number}"))
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(20)]
    stats = recorder.stats()
    assert (stats.recorded, stats.shipped, stats.backlog_records, stats.backlog_bytes) == (20, 20, 0, 0)
    assert (stats.oldest_age, stats.last_error, stats.waiting) == (None, None, 0)
    _balance(recorder)


async def test_what_comes_while_a_group_is_written_is_the_next_group(
    recorder: UsageRecorder, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = []
    monkeypatch.setattr(files, "sync", lambda file, sync=files.sync: syncs.append(sync(file)))
    await asyncio.gather(*(recorder.record(record(f"{number}")) for number in range(1_000)))
    assert len(syncs) <= 3
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(1_000)]


async def test_every_field_arrives_as_it_was(recorder: UsageRecorder, store: Store) -> None:
    rich = record(
        "rich",
        model_id=new_id(),
        model_name="gpt-4o",
        cost_usd=Decimal("0.000000000001"),
        price_version=3,
        error_message="Ünïcode \N{SNOWMAN}",
        request_metadata={"nested": [{"deep": None}], "float": 1.5, "large": 2**64 - 1},
        billable=BillableUsage(input_tokens=3, seconds=Decimal("1.5"), web_searches={"low": 2}),
        pricing_context={"service_tier": "flex"},
    )
    huge = record("huge", request_metadata={"beyond MessagePack": 2**70})
    for each in (rich, huge):
        assert decoded(encoded(each.checked())).checked() == each.checked()
        await recorder.record(each)
    await recorder.flush()
    assert [each.checked() for batch in store.batches for each in batch] == [rich.checked(), huge.checked()]


async def test_bad_input_is_an_error_and_nothing_is_written(recorder: UsageRecorder, folder: Path) -> None:
    with pytest.raises(InvalidValueError, match="prompt_tokens"):
        await recorder.record(record("bad", prompt_tokens=-1))
    assert not folder.exists()
    assert recorder.stats().recorded == 0


async def test_an_outage_backs_off_with_a_cap_and_recording_goes_on(
    recorder: UsageRecorder, store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.gone = DatabaseUnavailableError("PostgreSQL: gone")
    await recorder.record(record("0"))
    first_s, cap_s = SHIPPING_BACKOFF_FIRST.total_seconds(), SHIPPING_BACKOFF_MAX.total_seconds()
    for attempt in range(12):
        longest = min(first_s * 2**attempt, cap_s)
        await until(lambda calls=attempt + 1: store.calls == calls and bool(clock._timers))  # type: ignore[misc]
        [(due, _, _)] = clock._timers
        assert 0.5 * longest <= due - clock.monotonic() <= longest
        clock.advance(longest)
        await recorder.record(record(f"{attempt + 1}"))
    stats = recorder.stats()
    assert (stats.recorded, stats.backlog_records) == (13, 13)
    assert stats.last_error == "DatabaseUnavailableError: PostgreSQL: gone"
    assert stats.oldest_age is not None
    await _recover(store, clock)
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(13)]
    assert recorder.stats().last_error is None
    _balance(recorder)
    assert [each.levelname for each in caplog.records] == ["WARNING"]  # once an outage, not once an attempt


async def test_the_secrets_of_a_driver_s_error_do_not_show(
    recorder: UsageRecorder, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.gone = RuntimeError("postgresql://gateway:hush@db/llm")
    await recorder.record(record("0"))
    await until(lambda: recorder.stats().last_error is not None)
    assert recorder.stats().last_error == "RuntimeError"
    assert "hush" not in caplog.text


async def test_a_refused_record_is_alone_to_blame_and_the_rest_goes_on(
    recorder: UsageRecorder, store: Store, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.bad = {"3": InvalidValueError("PostgreSQL: out of range"), "7": GatewayDBError("PostgreSQL: no")}
    await _record_as_one_batch(recorder, store, 10)
    await recorder.flush()
    assert store.names == ["first", "0", "1", "2", "4", "5", "6", "8", "9"]
    stats = recorder.stats()
    assert (stats.shipped, stats.rejected) == (9, 2)
    _balance(recorder)
    lines = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["record"]["request_id"], line["reason"]) for line in lines] == [
        ("3", "InvalidValueError: PostgreSQL: out of range"),
        ("7", "GatewayDBError: PostgreSQL: no"),
    ]
    assert "2 entries in quarantine: InvalidValueError: PostgreSQL: out of range" in caplog.text


async def test_where_the_database_takes_nothing_no_record_is_to_blame(
    recorder: UsageRecorder, store: Store, folder: Path, clock: ManualClock
) -> None:
    store.gone = GatewayDBError('PostgreSQL: relation "usage_records" does not exist')
    await asyncio.gather(*(recorder.record(record(f"{number}")) for number in range(10)))
    await until(lambda: recorder.stats().last_error is not None)
    assert recorder.stats().rejected == 0
    await _recover(store, clock)
    await recorder.flush()
    assert len(store.names) == 10
    assert not (folder / "quarantine.jsonl").exists()


async def test_an_outage_in_the_middle_of_a_halved_batch_ships_it_again_and_counts_it_once(
    recorder: UsageRecorder, store: Store, clock: ManualClock
) -> None:
    store.bad = {"0": InvalidValueError("bad"), "9": DatabaseUnavailableError("gone just now")}
    await _record_as_one_batch(recorder, store, 10)
    await until(lambda: recorder.stats().last_error == "DatabaseUnavailableError: gone just now")
    assert (recorder.stats().shipped, store.names) == (1, ["first", "1", "2", "3", "4"])
    del store.bad["9"]
    clock.advance(PAST_ANY_BACKOFF)
    await recorder.flush()
    stats = recorder.stats()
    assert (stats.shipped, stats.rejected) == (10, 1)
    assert store.names[-9:] == [f"{number}" for number in range(1, 10)]


async def test_after_a_failure_batches_begin_small(
    recorder: UsageRecorder, store: Store, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that took too long was perhaps too much at once, and a database that is away should cost little."""
    taking = store.create_many

    async def slow(records: Sequence[UsageRecord]) -> int:
        if len(records) > 3:
            raise QueryTimeoutError("PostgreSQL did not answer within query_timeout")
        return await taking(records)

    monkeypatch.setattr(store, "create_many", slow)
    await asyncio.gather(*(recorder.record(record(f"{number}")) for number in range(50)))
    flushing = asyncio.create_task(recorder.flush())
    while not flushing.done():
        clock.advance(PAST_ANY_BACKOFF)
        await asyncio.sleep(0.001)
    assert store.names == [f"{number}" for number in range(50)]
    _balance(recorder)


async def test_a_full_journal_makes_callers_wait_in_order_until_there_is_room(
    make: Make, store: Store, clock: ManualClock
) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    store.gone = DatabaseUnavailableError("gone")
    tasks = [asyncio.create_task(recorder.record(_large(number))) for number in range(20)]
    await _filled(recorder, tasks)
    stats = recorder.stats()
    assert stats.waiting == sum(not task.done() for task in tasks) > 0
    assert stats.backlog_bytes <= stats.max_bytes
    await _recover(store, clock)
    await asyncio.gather(*tasks)
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(20)]
    _balance(recorder)


async def test_one_who_waits_and_is_cancelled_leaves_the_room_to_others(
    make: Make, store: Store, clock: ManualClock
) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    store.gone = DatabaseUnavailableError("gone")
    tasks = [asyncio.create_task(recorder.record(_large(number))) for number in range(20)]
    await _filled(recorder, tasks)
    waiting = [number for number, task in enumerate(tasks) if not task.done()]
    for number in waiting[::2]:
        tasks[number].cancel()
    await _recover(store, clock)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await recorder.flush()
    assert [place for place, result in enumerate(results) if result is not None] == waiting[::2]
    assert store.names == [f"{number}" for number in range(20) if number not in waiting[::2]]


async def test_a_record_that_needs_the_room_of_one_that_is_shipped_gets_it(make: Make, store: Store) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES)
    for number in range(3):
        await recorder.record(_large(number, JOURNAL_MIN_BYTES * 2 // 3))
    await recorder.flush()
    assert store.names == ["0", "1", "2"]
    with pytest.raises(InvalidValueError, match="in the journal, 65536 are the most"):
        await recorder.record(_large(3, JOURNAL_MIN_BYTES))


async def test_a_full_journal_raises_by_choice(make: Make, store: Store, clock: ManualClock) -> None:
    recorder = make(max_bytes=JOURNAL_MIN_BYTES, when_full="raise")
    store.gone = DatabaseUnavailableError("gone")
    results = await asyncio.gather(*(recorder.record(_large(n)) for n in range(20)), return_exceptions=True)
    refused = [number for number, result in enumerate(results) if isinstance(result, UsageBacklogFull)]
    assert 0 < len(refused) < 20
    assert recorder.stats().recorded == 20 - len(refused)
    await _recover(store, clock)
    await recorder.flush()
    await recorder.record(_large(20))
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(21) if number not in refused]


def _large(number: int, size: int = 6_000) -> UsageRecord:
    return record(f"{number}", request_metadata={"prompt": "x" * size})


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
    _balance(recorder)


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
        _balance(second)
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
    tasks = [asyncio.create_task(recorder.record(_large(number))) for number in range(20)]
    await _filled(recorder, tasks)
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
    _balance(recorder)


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
        _balance(second)
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
    await _failed(clock)
    [segment] = folder.glob("0*")
    segment.unlink()
    await _recover(store, clock)
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
