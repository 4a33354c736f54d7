"""Records, days and months agree, or it is said where they do not, and mended."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from gatewaydb import Database, GatewayDBError, InvalidValueError, Model, QueryTimeoutError, UsageRecord
from gatewaydb.database import DatabaseTransaction
from gatewaydb.entities.base import new_id
from gatewaydb.metering import UsageDrift, reprice, verification
from tests.conftest import MakeDatabase

KEYS = [new_id() for _ in range(4)]
START = datetime(2026, 1, 1, tzinfo=UTC)


def _records(count: int = 60, keys: list[UUID] = KEYS, seed: int = 1) -> list[UsageRecord]:
    """Of three months, several routes and statuses, some of them unpriced."""
    chance = random.Random(seed)
    return [
        UsageRecord(
            api_key_id=keys[number % len(keys)],
            request_timestamp=START + timedelta(minutes=chance.randrange(90 * 24 * 60)),
            model_name=chance.choice(["gpt-4o", "claude"]),
            status_code=chance.choice([200, 200, 429, None]),
            prompt_tokens=chance.randrange(1000),
            completion_tokens=chance.randrange(100),
            cached_tokens=chance.randrange(10),
            cost_usd=Decimal(chance.randrange(10**12)).scaleb(-12) if number % 7 else None,
        )
        for number in range(count)
    ]


@pytest.fixture
async def filled(db: Database) -> Database:
    """Four keys with usage of three months."""
    await db.usage.create_many(_records())
    return db


async def _sql(db: Database, *statements: str, key: UUID | None = None) -> None:
    async with db.transaction() as tx:
        for statement in statements:
            await tx.execute(statement, *([] if key is None else [key]))


async def test_what_was_recorded_agrees(filled: Database) -> None:
    await asyncio.gather(*(filled.usage.create(record) for record in _records(20, seed=2)))
    report = await filled.verify_usage()
    assert report.is_sound
    assert (report.drifts_found, report.drifted, report.keys) == (0, 0, 4)
    assert (report.first_month, report.last_month) >= (date(2026, 1, 1), date(2026, 3, 1))


async def test_an_empty_database_agrees(db: Database) -> None:
    report = await db.verify_usage()
    assert (report.keys, report.drifts, report.is_sound) == (0, [], True)


async def test_repricing_leaves_no_drift(filled: Database) -> None:
    """It moves records to another route, whose latest request they were."""
    prices = {"input_cost_per_token": "0.00003", "output_cost_per_token": "0.00006"}
    await filled.models.create(Model(name="gpt-4o", prices=prices))
    report = await reprice(filled.usage, filled.models, START, START + timedelta(90), unpriced_only=False)
    assert report.changed
    assert (await filled.verify_usage()).drifts == []


async def test_days_of_a_route_to_which_a_repricing_moved_records_agree_after_a_refresh(filled: Database) -> None:
    await test_repricing_leaves_no_drift(filled)
    for month in (1, 2, 3):
        await filled.monthly_summaries.refresh_summary(KEYS[0], 2026, month)
    assert (await filled.verify_usage()).drifts == []


async def _months_that_say(db: Database, key: UUID) -> list[Any]:
    return [replace(each, updated_at=START) for each in await db.monthly_summaries.get_by_api_key(key)]


MONTHLY, DAILY = "monthly_usage_summaries", "daily_usage_summaries"
MONEY = {"sqlite": "cost_rest_picousd", "postgres": "total_cost_usd"}
PICODOLLAR = {"sqlite": "1", "postgres": "0.000000000001"}


@pytest.mark.parametrize("table", [DAILY, MONTHLY])
@pytest.mark.parametrize(
    "column",
    ["total_requests", "unpriced_requests", "total_prompt_tokens", "total_completion_tokens", "total_tokens", "cost"],
)
async def test_a_sum_changed_by_hand_is_shown_and_mended(
    filled: Database, dialect: str, table: str, column: str
) -> None:
    name, one = (MONEY[dialect], PICODOLLAR[dialect]) if column == "cost" else (column, "1")
    before = await _months_that_say(filled, KEYS[0])
    await _sql(filled, f"UPDATE {table} SET {name} = {name} + {one} WHERE api_key_id = $1", key=KEYS[0])
    found = await filled.verify_usage()
    assert not found.is_sound
    assert {drift.api_key_id for drift in found.drifts} == {KEYS[0]}
    assert (found.drifted, found.repaired) == (3, 0)
    for drift in (each for each in found.drifts if each.level == table.split("_", maxsplit=1)[0]):
        differing = {field: value for field, value in _fields(drift).items() if value}
        field = column if column == "total_tokens" else column.removeprefix("total_")
        assert differing == {field: Decimal("1e-12") if column == "cost" else 1}
    repaired = await filled.verify_usage(repair=True)
    assert (repaired.drifted, repaired.repaired, repaired.is_sound) == (3, 3, True)
    assert (await filled.verify_usage()).drifts == []
    assert await _months_that_say(filled, KEYS[0]) == before


def _fields(drift: UsageDrift) -> dict[str, Any]:
    difference = drift.difference
    named = {name: getattr(difference, name) for name in difference.__struct_fields__}
    return {"requests": named.pop("requests"), "cost": named.pop("cost_usd"), **named}


async def test_cached_tokens_are_compared(filled: Database) -> None:
    await _sql(
        filled, f"UPDATE {DAILY} SET total_cached_tokens = 7 + total_cached_tokens WHERE api_key_id = $1", key=KEYS[1]
    )
    found = await filled.verify_usage()
    assert {drift.difference.cached_tokens for drift in found.drifts} == {7}
    assert {drift.level for drift in found.drifts} == {"daily"}


@pytest.mark.parametrize("table", [DAILY, MONTHLY])
@pytest.mark.parametrize("value", ["NULL", "'1999-01-01T00:00:00.000000+00:00'", "'2099-01-01T00:00:00.000000+00:00'"])
async def test_the_latest_request_is_compared(filled: Database, table: str, value: str) -> None:
    before = await _months_that_say(filled, KEYS[2])
    await _sql(filled, f"UPDATE {table} SET last_request_at = {value} WHERE api_key_id = $1", key=KEYS[2])
    found = await filled.verify_usage(repair=True)
    assert found.drifted == found.repaired == 3
    assert all(drift.stored_last_request_at != drift.expected_last_request_at for drift in found.drifts)
    assert (await filled.verify_usage()).drifts == []
    assert await _months_that_say(filled, KEYS[2]) == before


@pytest.mark.parametrize("table", [DAILY, MONTHLY])
async def test_deleted_summaries_are_shown_and_made_again(filled: Database, table: str) -> None:
    before = await _months_that_say(filled, KEYS[3])
    await _sql(filled, f"DELETE FROM {table} WHERE api_key_id = $1", key=KEYS[3])
    found = await filled.verify_usage()
    assert found.drifted == 3
    assert all(drift.stored.requests == 0 for drift in found.drifts if drift.level == table.split("_", maxsplit=1)[0])
    assert (await filled.verify_usage(repair=True)).repaired == 3
    assert await _months_that_say(filled, KEYS[3]) == before


async def test_invented_summaries_are_shown_and_emptied(filled: Database, dialect: str) -> None:
    stranger = new_id()
    money = "cost_microusd, cost_rest_picousd" if dialect == "sqlite" else "total_cost_usd"
    amount = "5, 7" if dialect == "sqlite" else "5"
    await _sql(
        filled,
        f"INSERT INTO {DAILY} (day, api_key_id, route_id, status_class, total_requests, unpriced_requests, "
        f"total_prompt_tokens, total_completion_tokens, total_tokens, total_cached_tokens, {money}) "
        f"VALUES ('2025-07-04', $1, 0, 2, 1, 0, 1, 1, 2, 0, {amount})",
        f"INSERT INTO {MONTHLY} (api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, "
        f"total_completion_tokens, total_tokens, {money}, updated_at) "
        f"VALUES ($1, 2024, 2, 1, 0, 1, 1, 2, {amount}, '2026-01-01T00:00:00.000000+00:00')",
        key=stranger,
    )
    found = await filled.verify_usage(repair=True)
    assert {(drift.api_key_id, drift.level, drift.day) for drift in found.drifts} == {
        (stranger, "daily", date(2025, 7, 4)),
        (stranger, "monthly", date(2025, 7, 1)),
        (stranger, "monthly", date(2024, 2, 1)),
    }
    assert [drift.is_beyond for drift in found.drifts if drift.level == "daily"] == [True]
    assert found.repaired == 2
    assert (await filled.verify_usage()).drifts == []
    assert [each.total_requests for each in await filled.monthly_summaries.get_by_api_key(stranger)] == [0, 0]


async def _past_the_triggers(db: Database, dialect: str, records: list[UsageRecord]) -> None:
    """Records that no summary knows of."""
    one, other = {
        "sqlite": ("INSERT INTO usage_bulk (after_rowid) VALUES (9000000000000000000)", "DELETE FROM usage_bulk"),
        "postgres": (
            "ALTER TABLE usage_records DISABLE TRIGGER usage_records_summarise",
            "ALTER TABLE usage_records ENABLE TRIGGER usage_records_summarise",
        ),
    }[dialect]
    async with db.transaction() as tx:
        await tx.execute(one)
        for first in range(0, len(records), 15):
            await tx.usage.create_many(records[first : first + 15])
        await tx.execute(other)


async def test_records_that_no_summary_knows_are_shown_and_counted(filled: Database, dialect: str) -> None:
    """Also those of a key and of months that have no summaries at all."""
    stranger = new_id()
    old = [replace(each, request_timestamp=each.request_timestamp - timedelta(400)) for each in _records(6, [stranger])]
    await _past_the_triggers(filled, dialect, [*old, *_records(15, KEYS[:1], seed=3)])
    found = await filled.verify_usage()
    assert {drift.api_key_id for drift in found.drifts} == {KEYS[0], stranger}
    assert sum(drift.difference.requests for drift in found.drifts) == -21
    assert not any(drift.is_beyond for drift in found.drifts)
    repaired = await filled.verify_usage(repair=True)
    assert repaired.is_sound
    assert (await filled.verify_usage()).drifts == []
    assert sum(each.total_requests for each in await filled.monthly_summaries.get_by_api_key(stranger)) == 6
    assert sum(each.total_requests for each in await filled.monthly_summaries.get_by_api_key(KEYS[0])) == 30


async def test_records_deleted_by_hand_are_sums_beyond_the_records(filled: Database) -> None:
    """What was spent stays in the sums until somebody repairs them on purpose."""
    await _sql(filled, "DELETE FROM usage_records WHERE api_key_id = $1", key=KEYS[0])
    found = await filled.verify_usage()
    assert {(drift.api_key_id, drift.is_beyond) for drift in found.drifts} == {(KEYS[0], True)}
    assert sum(each.total_requests for each in await filled.monthly_summaries.get_by_api_key(KEYS[0])) == 15
    assert (await filled.verify_usage(repair=True)).is_sound
    assert sum(each.total_requests for each in await filled.monthly_summaries.get_by_api_key(KEYS[0])) == 0


async def test_only_the_months_and_the_key_that_were_asked_for(filled: Database) -> None:
    await _sql(filled, f"UPDATE {MONTHLY} SET total_requests = 99")
    [found] = (await filled.verify_usage(api_key_id=KEYS[0], end=datetime(2026, 1, 2, tzinfo=UTC))).drifts
    assert (found.api_key_id, found.day) == (KEYS[0], date(2026, 1, 1))
    report = await filled.verify_usage(datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), repair=True)
    assert (report.first_month, report.last_month) == (date(2026, 2, 1), date(2026, 2, 1))
    assert report.drifted == report.repaired == 4
    assert (await filled.verify_usage()).drifted == 8


async def test_bad_bounds_are_refused(db: Database) -> None:
    with pytest.raises(InvalidValueError, match="start"):
        await db.verify_usage(START, START - timedelta(1))
    with pytest.raises(InvalidValueError, match="end"):
        await db.verify_usage(end=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidValueError, match="api_key_id"):
        await db.verify_usage(api_key_id="nobody")  # type: ignore[arg-type]


async def test_small_slices_find_the_same(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await _sql(filled, f"UPDATE {DAILY} SET total_tokens = total_tokens + 1")
    whole = await filled.verify_usage()
    monkeypatch.setattr(verification, "SLICE_REQUESTS", 3)
    monkeypatch.setattr(verification, "KEYS_AT_ONCE", 3)
    monkeypatch.setattr(verification, "DRIFTS_AT_ONCE", 2)
    monkeypatch.setattr(verification, "DRIFTS_KEPT", 20)
    seen: list[tuple[int, int]] = []
    report = await filled.verify_usage(progress=lambda done, total: seen.append((done, total)))
    assert report.drifts_found == whole.drifts_found > len(report.drifts) == 20
    assert (report.drifted, report.keys) == (whole.drifted, 4)
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)


async def test_a_slice_that_takes_too_long_is_halved(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to one day of one key, of which a timeout is an error."""
    await _sql(filled, f"UPDATE {DAILY} SET total_tokens = total_tokens + 1")
    whole = await filled.verify_usage()
    fetch_all = filled._engine.fetch_all
    too_much = 2

    async def slow(statement: str, **values: Any) -> Any:
        if statement == "usage_verification_list_daily":
            days = (values["last_day"] - values["first_day"]).days
            if len(values["ids"]) * days > too_much:
                raise QueryTimeoutError("too slow")
        return await fetch_all(statement, **values)

    monkeypatch.setattr(filled._engine, "fetch_all", slow)
    assert (await filled.verify_usage()).drifts_found == whole.drifts_found
    too_much = 0
    with pytest.raises(QueryTimeoutError):
        await filled.verify_usage()


async def _writing(db: Database, until: Callable[[], bool], seed: int) -> int:
    written = 0
    while not until():
        written += await db.usage.create_many(_records(40, seed=seed + written))
        await asyncio.gather(*(db.usage.create(record) for record in _records(5, seed=seed - written)))
        written += 5
    return written


async def test_verifying_beside_writers_gives_no_false_alarm(make_database: MakeDatabase) -> None:
    writers = [await make_database(query_timeout="30s") for _ in range(3)]
    verifier = await make_database(query_timeout="30s")
    is_over = False
    writing = [asyncio.create_task(_writing(db, lambda: is_over, 1000 * n)) for n, db in enumerate(writers, 1)]
    reports = [await verifier.verify_usage() for _ in range(12)]
    is_over = True
    written = sum(await asyncio.gather(*writing))
    assert written > 100
    assert [report.drifts for report in reports] == [[]] * 12


async def test_repair_beside_four_writers_is_exact(make_database: MakeDatabase, dialect: str) -> None:
    writers = [await make_database(query_timeout="30s") for _ in range(4)]
    repairer = await make_database(query_timeout="30s")
    is_over = False
    writing = [asyncio.create_task(_writing(db, lambda: is_over, 1000 * n)) for n, db in enumerate(writers, 1)]
    # So that there is a summary of each key to change.
    await repairer.usage.create_many(first := _records())
    mended = 0
    for number in range(8):
        # As writers do it: the month first. SQL that takes several rows in another order could wait for one crosswise.
        damage = f"UPDATE {MONTHLY} SET total_requests = total_requests + {{}} WHERE api_key_id = $1 AND month = 1"
        others = f"UPDATE {DAILY} SET total_requests = total_requests + 5 WHERE api_key_id = $1 AND day < '2026-02-01'"
        changes = [damage.format(5)] if number % 2 else [damage.format(0), others]
        await _sql(repairer, *changes, key=KEYS[number % 4])
        report = await repairer.verify_usage(repair=True)
        assert report.is_sound
        mended += report.repaired
    is_over = True
    written = sum(await asyncio.gather(*writing))
    assert mended >= 8
    assert (await repairer.verify_usage()).drifts == []
    kept = [each for key in KEYS for each in await repairer.monthly_summaries.get_by_api_key(key)]
    assert sum(each.total_requests for each in kept) == written + len(first)
    if dialect == "postgres":
        async with repairer.transaction() as tx:
            sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert (await tx.fetch(sql))[0]["deadlocks"] == 0


async def test_verifying_waits_for_nobody_and_nobody_waits_for_it(
    filled: Database, make_database: MakeDatabase
) -> None:
    other = await make_database()
    async with other.transaction() as tx:
        await tx.usage.create_many(_records(30, seed=9))
        await tx.execute("UPDATE monthly_usage_summaries SET total_requests = 0")
        assert (await filled.verify_usage()).drifts == []
        await _undo(tx)


async def _undo(tx: DatabaseTransaction) -> None:
    await tx.execute("UPDATE monthly_usage_summaries SET total_requests = 1")


async def test_inside_a_transaction_only_reading_is_allowed(filled: Database) -> None:
    await _sql(filled, f"UPDATE {MONTHLY} SET total_requests = 99")
    async with filled.transaction():
        assert (await filled.verify_usage()).drifted == 12
        with pytest.raises(GatewayDBError, match="transaction"):
            await filled.verify_usage(repair=True)
