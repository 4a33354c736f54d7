# ruff: noqa: ASYNC240 - a test has nobody else to wait for it
"""A recorder in front of a database that takes, refuses, hangs or is gone, as the test says."""

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from gatewaydb import (
    DatabaseUnavailableError,
    GatewayDBError,
    InvalidValueError,
    QueryTimeoutError,
    UsageRecord,
    UsageRecorder,
)
from gatewaydb.config import SHIPPING_BACKOFF_FIRST, SHIPPING_BACKOFF_MAX
from gatewaydb.entities.base import new_id
from gatewaydb.metering import files
from gatewaydb.metering.shipper import decoded, encoded
from gatewaydb.pricing import BillableUsage
from tests.clock import ManualClock, until
from tests.unit.metering.recording import (
    PAST_ANY_BACKOFF,
    Store,
    assert_balance,
    record,
    record_as_one_batch,
    recover,
)


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
    assert_balance(recorder)


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
    await recover(store, clock)
    await recorder.flush()
    assert store.names == [f"{number}" for number in range(13)]
    assert recorder.stats().last_error is None
    assert_balance(recorder)
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
    await record_as_one_batch(recorder, store, 10)
    await recorder.flush()
    assert store.names == ["first", "0", "1", "2", "4", "5", "6", "8", "9"]
    stats = recorder.stats()
    assert (stats.shipped, stats.rejected) == (9, 2)
    assert_balance(recorder)
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
    await recover(store, clock)
    await recorder.flush()
    assert len(store.names) == 10
    assert not (folder / "quarantine.jsonl").exists()


async def test_an_outage_in_the_middle_of_a_halved_batch_ships_it_again_and_counts_it_once(
    recorder: UsageRecorder, store: Store, clock: ManualClock
) -> None:
    store.bad = {"0": InvalidValueError("bad"), "9": DatabaseUnavailableError("gone just now")}
    await record_as_one_batch(recorder, store, 10)
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
        await until(lambda: flushing.done() or bool(clock._timers))
    assert store.names == [f"{number}" for number in range(50)]
    assert_balance(recorder)
