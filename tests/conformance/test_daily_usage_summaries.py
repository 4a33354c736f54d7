import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from gatewaydb import APIKey, Database, InvalidValueError, Model, Provider, UsageRecord, UsageReportRow
from gatewaydb.entities.base import new_id
from gatewaydb.metering import settle_days
from tests.clock import ManualClock, until
from tests.conftest import MakeDatabase

START, END = date(2025, 11, 20), date(2026, 2, 10)
DAYS = [
    date(2025, 11, 20),
    date(2025, 11, 30),
    date(2025, 12, 1),
    date(2025, 12, 31),
    date(2026, 1, 1),
    date(2026, 2, 9),
]
MANY = 400


def _at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


class World:
    """Keys, models and providers of all kinds, and what was recorded of them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.records: list[UsageRecord] = []
        self.keys: list[APIKey] = []
        self.models: list[Model] = []
        self.providers: list[Provider] = []

    async def fill(self, seed: int = 0) -> None:
        """Some months of usage, with and without prices, models, names and tags; then some of these are deleted."""
        random = Random(seed)
        tags: tuple[dict[str, str], ...] = (
            {"environment": "production", "team": "a"},
            {"environment": "staging"},
            {},
            {"team": "b"},
        )
        for number, tag in enumerate(tags):
            metadata = {"tag": tag, "owner": {"team": f"o{number % 2}"}} if tag else {}
            self.keys.append((await self.db.api_keys.issue(f"key {number}", metadata=metadata))[0])
        self.providers = [await self.db.providers.create(Provider(name=name)) for name in ("azure", "gone soon")]
        self.models = [
            await self.db.models.create(Model(name=name, litellm_provider=of)) for name, of in MODELS.items()
        ]
        await self.record(self._record(random) for _ in range(MANY))
        await self.db.api_keys.delete(self.keys[3].id)
        await self.db.models.delete(self.models[2].id)
        await self.db.providers.delete(self.providers[1].id)

    async def record(self, records: Iterable[UsageRecord]) -> None:
        """Records, and remembers as they are stored."""
        batch = [record.checked() for record in records]
        await self.db.usage.create_many(batch)
        self.records += batch

    def _record(self, random: Random) -> UsageRecord:
        model = random.choice([*self.models, None])
        provider = random.choice([*self.providers, None, None])
        return UsageRecord(
            api_key_id=random.choice(self.keys).id,
            model_id=model.id if model else None,
            model_name=random.choice([model.name if model else None, "another name", None]),
            provider_id=provider.id if provider else None,
            request_timestamp=_at(random.choice(DAYS), 0) + timedelta(seconds=random.randrange(86_400)),
            endpoint=random.choice(["/v1/chat", "/v1/embeddings", None]),
            prompt_tokens=random.randrange(1000),
            completion_tokens=random.randrange(1000),
            cached_tokens=random.randrange(100),
            status_code=random.choice([200, 201, 429, 404, 500, 503, None]),
            cost_usd=random.choice([None, Decimal(random.randrange(10**15)).scaleb(-12), Decimal("1e-12")]),
        )

    def labels(self, by: str, record: UsageRecord) -> list[str | None]:
        """What `by` the record counts as, in words of this test's own."""
        key = next(key for key in self.keys if key.id == record.api_key_id)
        model = next((model for model in self.models if model.id == record.model_id), None)
        provider = next((each for each in self.providers if each.id == record.provider_id), None)
        provider_name = provider.name if provider and provider != self.providers[1] else str(record.provider_id)
        litellm_provider = model.litellm_provider if model and model != self.models[2] else None
        tags = {} if key == self.keys[3] else key.metadata.get(by, {})
        labels: dict[str, list[str | None]] = {
            "key": [key.name if key != self.keys[3] else str(key.id)],
            "model": [record.model_name or (str(record.model_id) if record.model_id else None)],
            "provider": [provider_name if provider else litellm_provider],
            "day": [record.request_timestamp.date().isoformat()],
            "endpoint": [record.endpoint],
            "status": [f"{record.status_code // 100}xx" if record.status_code else None],
        }
        return labels.get(by) or [f"{name}={value}" for name, value in tags.items()] or [None]

    def sums(self, by: str, records: Iterable[UsageRecord]) -> dict[str | None, tuple[Any, ...]]:
        """The report, from the records."""
        groups: dict[str | None, list[UsageRecord]] = {}
        for record in records:
            for label in self.labels(by, record):
                groups.setdefault(label, []).append(record)
        return {label: _summed(records) for label, records in groups.items()}


MODELS = {"gpt-4o": "openai", "claude-sonnet-5": "anthropic", "gone soon": "openai", "house": None}
REPORTS = ("key", "model", "provider", "day", "tag", "endpoint", "status")


def _summed(records: Sequence[UsageRecord]) -> tuple[Any, ...]:
    counts = [
        sum(getattr(record, name) for record in records)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
    ]
    errors = [sum((record.status_code or 0) // 100 == each for record in records) for each in (4, 5)]
    costs = [record.cost_usd for record in records]
    return (len(costs), costs.count(None), *errors, *counts, sum(filter(None, costs), Decimal(0)))


def _told(row: UsageReportRow) -> tuple[Any, ...]:
    counts = (row.prompt_tokens, row.completion_tokens, row.total_tokens, row.cached_tokens)
    return (row.requests, row.unpriced_requests, row.client_errors, row.server_errors, *counts, row.cost_usd)


def _by_label(rows: Iterable[UsageReportRow]) -> dict[str | None, tuple[Any, ...]]:
    """Models of one name but of several ids are rows of their own; here they are one, as in the test's own words."""
    sums: dict[str | None, tuple[Any, ...]] = {}
    for row in rows:
        before = sums.get(row.label, (0,) * 9)
        sums[row.label] = tuple(a + b for a, b in zip(before, _told(row), strict=True))
    return sums


@pytest.fixture
async def world(db: Database) -> World:
    made = World(db)
    await made.fill()
    return made


@pytest.mark.parametrize("is_settled", [False, True])
async def test_every_report_is_the_exact_sum_of_its_records(world: World, is_settled: bool) -> None:
    if is_settled:
        assert len(await settle_days(world.db._engine)) == len(DAYS)
    spans = [(START, END), (date(2025, 12, 31), date(2026, 1, 2)), (date(1, 1, 1), date.max), (START, START)]
    for start, end in spans:
        asked = [record for record in world.records if start <= record.request_timestamp.date() < end]
        for by in REPORTS:
            report = await world.db.daily_summaries.report(by, start, end)  # type: ignore[arg-type]
            assert _by_label(report.rows) == world.sums(by, asked), (by, start)
            assert _told(report.total) == _summed(asked)
            assert report.row_count == len(report.rows)
    owners = await world.db.daily_summaries.report("tag", START, END, tag_type="owner")
    assert _by_label(owners.rows) == world.sums("owner", world.records)


@pytest.mark.parametrize("is_settled", [False, True])
async def test_a_report_of_one_key_or_model_counts_that_alone(world: World, is_settled: bool) -> None:
    if is_settled:
        await settle_days(world.db._engine)
    key, deleted, model = world.keys[0].id, world.keys[3].id, world.models[0].id
    filters: list[tuple[dict[str, Any], Callable[[UsageRecord], bool]]] = [
        ({"api_key_id": key}, lambda record: record.api_key_id == key),
        ({"api_key_id": deleted}, lambda record: record.api_key_id == deleted),
        ({"model": "another name"}, lambda record: record.model_name == "another name"),
        ({"model": model}, lambda record: record.model_id == model),
        ({"model": model, "api_key_id": key}, lambda record: (record.model_id, record.api_key_id) == (model, key)),
    ]
    for asked, is_asked in filters:
        for by in REPORTS:
            report = await world.db.daily_summaries.report(by, START, END, **asked)  # type: ignore[arg-type]
            assert _by_label(report.rows) == world.sums(by, filter(is_asked, world.records)), (by, asked)
            assert _told(report.total) == _summed(list(filter(is_asked, world.records)))


async def test_what_changes_a_settled_day_counts_at_once(world: World) -> None:
    await settle_days(world.db._engine)
    late = replace(world.records[0], id=new_id(), request_timestamp=_at(date(2025, 12, 24)), cost_usd=None)
    before_all = replace(late, id=new_id(), request_timestamp=_at(date(2024, 2, 29)))
    await world.record([late, before_all])
    priced = [replace(record, cost_usd=Decimal("0.5")) for record in world.records if record.cost_usd is None]
    await world.db.usage.reprice_many(priced)
    world.records = [record for record in world.records if record.cost_usd is not None] + priced
    for expected in ([date(2024, 2, 29), date(2025, 12, 24)], []):
        for by in REPORTS:
            report = await world.db.daily_summaries.report(by, date(2024, 1, 1), END)  # type: ignore[arg-type]
            assert _by_label(report.rows) == world.sums(by, world.records), by
        settled = await settle_days(world.db._engine)
        assert [day for day in settled if day not in DAYS] == expected
    assert await settle_days(world.db._engine) == []


async def test_a_summary_that_is_deleted_or_mended_by_hand_counts_at_once(world: World) -> None:
    await settle_days(world.db._engine)
    async with world.db.transaction() as tx:
        await tx.execute("DELETE FROM daily_usage_summaries WHERE api_key_id = $1", _raw(world, world.keys[0].id))
        await tx.execute("UPDATE daily_usage_summaries SET total_requests = 7 WHERE total_requests > 0")
    report = await world.db.daily_summaries.report("key", START, END)
    async with world.db.transaction() as tx:
        [row] = await tx.fetch("SELECT sum(total_requests) AS total FROM daily_usage_summaries")
    assert len(report.rows) == 3
    assert report.total.requests == row["total"]


def _raw(world: World, key: UUID) -> Any:
    return str(key) if world.db.config.is_sqlite else key


async def test_today_is_not_settled(db: Database) -> None:
    now = datetime.now(UTC)
    await db.usage.create_many(
        [UsageRecord(api_key_id=new_id(), request_timestamp=now + timedelta(days=n)) for n in (0, 1)]
    )
    assert await settle_days(db._engine) == []


async def test_settling_beside_writers_loses_nothing(make_database: MakeDatabase) -> None:
    writers = [await make_database() for _ in range(3)]
    keys = [new_id() for _ in range(5)]
    days = [date(2026, 1, day) for day in range(1, 6)]

    async def write(db: Database, seed: int) -> None:
        random = Random(seed)
        for _ in range(20):
            batch = [
                UsageRecord(
                    api_key_id=random.choice(keys), request_timestamp=_at(random.choice(days)), cost_usd=Decimal("0.1")
                )
                for _ in range(5)
            ]
            await db.usage.create_many(batch)

    async def settle(db: Database) -> None:
        for _ in range(20):
            await settle_days(db._engine)
            report = await db.daily_summaries.report("key", days[0], END)
            # Whole batches only, whatever is settled meanwhile.
            assert report.total.requests % 5 == 0

    await asyncio.gather(*(write(db, seed) for seed, db in enumerate(writers)), *(settle(db) for db in writers[:2]))
    for _ in range(2):
        for by in ("key", "day"):
            report = await writers[0].daily_summaries.report(by, days[0], END)
            assert (report.total.requests, report.total.cost_usd) == (300, Decimal(30))
        await settle_days(writers[0]._engine)


async def test_an_open_database_settles_days_every_hour(make_database: MakeDatabase, clock: ManualClock) -> None:
    db = await make_database(clock=clock)
    await db.usage.create(UsageRecord(api_key_id=new_id(), request_timestamp=_at(START)))
    clock.advance(3600)

    async def is_settled() -> bool:
        row = await db._engine.fetch_one("daily_usage_summary_next_unsettled")
        return row is None or row["first_day"] is None

    await until(is_settled)


async def test_settling_leaves_off_where_others_write(make_database: MakeDatabase) -> None:
    writer, settler = await make_database(), await make_database(query_timeout="500ms")
    record = UsageRecord(api_key_id=new_id(), request_timestamp=_at(START), cost_usd=Decimal(1))
    await writer.usage.create(record)
    async with writer.transaction() as tx:
        await tx.usage.create(replace(record, id=new_id()))
        assert await settle_days(settler._engine) == []
    assert await settle_days(settler._engine) == [START]
    assert (await settler.daily_summaries.report("key", START, END)).total.cost_usd == 2


async def test_rows_come_dearest_first_and_days_in_order(world: World) -> None:
    report = await world.db.daily_summaries.report("key", START, END)
    costs = [row.cost_usd for row in report.rows]
    assert costs == sorted(costs, reverse=True)
    cut = await world.db.daily_summaries.report("key", START, END, limit=2)
    assert (cut.rows, cut.row_count, cut.total) == (report.rows[:2], 4, report.total)
    days = [row.day for row in (await world.db.daily_summaries.report("day", START, END)).rows]
    assert days == sorted(day for day in days if day)


@pytest.mark.parametrize("by", REPORTS)
async def test_a_series_is_the_report_day_by_day(world: World, by: Any) -> None:
    await settle_days(world.db._engine)
    report = await world.db.daily_summaries.report(by, START, END, limit=None if by == "day" else 3)
    series = await world.db.daily_summaries.series(by, START, END, limit=3)
    assert list(dict.fromkeys((row.label, row.id) for row in series)) == [(row.label, row.id) for row in report.rows]
    for row in report.rows:
        own = [each for each in series if (each.label, each.id) == (row.label, row.id)]
        assert [each.day for each in own] == sorted(each.day for each in own if each.day)
        assert tuple(map(sum, zip(*map(_told, own), strict=True))) == _told(row)


async def test_the_days_of_a_key_are_told_with_their_routes(world: World) -> None:
    key = world.keys[1].id
    days = await world.db.daily_summaries.get_by_api_key(key, START, END)
    own = [record for record in world.records if record.api_key_id == key]
    assert sum(day.total_requests for day in days) == len(own)
    assert sum(day.total_cost_usd for day in days) == sum(record.cost_usd or 0 for record in own)
    assert {day.endpoint for day in days} == {record.endpoint for record in own}
    assert [day.day for day in days] == sorted(day.day for day in days)
    assert await world.db.daily_summaries.get_by_api_key(new_id(), START, END) == []


async def test_datetimes_are_widened_to_whole_days(db: Database) -> None:
    at = _at(date(2026, 3, 5))
    await db.usage.create_many(
        [UsageRecord(api_key_id=new_id(), request_timestamp=at + timedelta(days=n)) for n in (0, 1)]
    )
    new_york = timezone(timedelta(hours=-5))
    for start, end, requests in [
        (at + timedelta(hours=3), at + timedelta(hours=4), 1),
        (at, datetime(2026, 3, 6, tzinfo=UTC), 1),
        (at, datetime(2026, 3, 5, 20, tzinfo=new_york), 2),
        (at, datetime.max.replace(tzinfo=UTC), 2),
    ]:
        assert (await db.daily_summaries.report("day", start, end)).total.requests == requests


@pytest.mark.parametrize(
    ("by", "start", "end", "more"),
    [
        ("weekday", START, END, {}),
        ("key", END, START, {}),
        ("key", datetime(2026, 1, 1), END, {}),  # noqa: DTZ001
        ("key", "2026-01-01", END, {}),
        ("key", START, END, {"limit": 0}),
        ("key", START, END, {"api_key_id": "x"}),
        ("key", START, END, {"model": ""}),
        ("tag", START, END, {"tag_type": ""}),
    ],
)
async def test_what_is_no_report_is_refused(db: Database, by: Any, start: Any, end: Any, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        await db.daily_summaries.report(by, start, end, **more)
