from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import APIKey, BillableUsage, Database, Model, UsageRecord
from gatewaydb.metering import RepricingReport, reprice
from gatewaydb.metering.repricing import BATCH_ROWS
from tests.clock import START, ManualClock
from tests.conftest import MakeDatabase

PRICES = {"input_cost_per_token": "0.01", "input_cost_per_token_batches": "0.004", "output_cost_per_token": "0.03"}
END = START + timedelta(days=400)


@pytest.fixture
async def db(make_database: MakeDatabase, clock: ManualClock) -> Database:
    """An open database at a time that the tests move."""
    return await make_database(clock=clock)


async def summary_is_the_sum(db: Database, key: APIKey) -> bool:
    kept = await db.monthly_summaries.get_by_api_key_and_month(key.id, START.year, START.month)
    summed = await db.monthly_summaries.refresh_summary(key.id, START.year, START.month)
    return replace(kept, updated_at=summed.updated_at) == summed


def used(key: APIKey, **fields: object) -> UsageRecord:
    return UsageRecord(api_key_id=key.id, request_timestamp=START, prompt_tokens=100, **fields)  # type: ignore[arg-type]


async def test_unpriced_usage_is_priced_when_its_model_appears(db: Database, api_key: APIKey) -> None:
    records = [used(api_key, model_name="later") for _ in range(BATCH_ROWS + 1)]
    await db.usage.create_many([*records, used(api_key, model_name="never"), used(api_key)])
    model = await db.models.create(Model(name="later", prices=PRICES))
    report = await reprice(db.usage, db.models, START, END)
    assert report == RepricingReport(seen=503, changed=501, still_unpriced=2, cost_after=Decimal(501))
    stored = await db.usage.get_by_id(records[0].id)
    assert (stored.cost_usd, stored.price_version, stored.model_id) == (Decimal(1), 1, model.id)
    month = await db.monthly_summaries.get_by_api_key_and_month(api_key.id, START.year, START.month)
    assert (month.total_cost_usd, month.unpriced_requests) == (Decimal(501), 2)
    assert await summary_is_the_sum(db, api_key)


async def test_pricing_twice_changes_nothing_the_second_time(db: Database, api_key: APIKey, model: Model) -> None:
    await db.usage.create(used(api_key, model_id=model.id))
    assert (await reprice(db.usage, db.models, START, END)).changed == 1
    assert (await reprice(db.usage, db.models, START, END)).seen == 0
    assert (await reprice(db.usage, db.models, START, END, unpriced_only=False)).changed == 0


async def test_a_dry_run_tells_and_writes_nothing(db: Database, api_key: APIKey, model: Model) -> None:
    record = await db.usage.create(used(api_key, model_id=model.id))
    report = await reprice(db.usage, db.models, START, END, dry_run=True)
    assert (report.changed, report.cost_after) == (1, Decimal("0.003"))
    assert await db.usage.get_by_id(record.id) == record


async def test_usage_is_priced_as_of_its_time(db: Database, api_key: APIKey, clock: ManualClock) -> None:
    model = await db.models.create(Model(name="m", prices=PRICES))
    clock.advance(60)
    await db.models.update(replace(model, prices={"input_cost_per_token": "0.5"}))
    old, new = used(api_key, model_id=model.id), used(api_key, model_id=model.id)
    new = replace(new, request_timestamp=clock.now())
    await db.usage.create_many([old, new])
    await reprice(db.usage, db.models, START, END)
    assert (await db.usage.get_by_id(old.id)).cost_usd == Decimal(1)
    assert (await db.usage.get_by_id(new.id)).cost_usd == Decimal(50)


async def test_priced_usage_is_priced_anew_on_purpose_only(db: Database, api_key: APIKey, model: Model) -> None:
    wrong = await db.usage.create(used(api_key, model_id=model.id, cost_usd=Decimal(7)))
    await reprice(db.usage, db.models, START, END)
    assert (await db.usage.get_by_id(wrong.id)).cost_usd == Decimal(7)
    report = await reprice(db.usage, db.models, START, END, unpriced_only=False)
    assert (report.cost_before, report.cost_after) == (Decimal(7), Decimal("0.003"))
    assert await summary_is_the_sum(db, api_key)


async def test_one_model_leaves_the_others_alone(db: Database, api_key: APIKey, model: Model) -> None:
    other = await db.models.create(Model(name="other", prices=PRICES))
    mine, theirs = used(api_key, model_id=model.id), used(api_key, model_id=other.id)
    await db.usage.create_many([mine, theirs])
    assert (await reprice(db.usage, db.models, START, END, model=model)).changed == 1
    assert (await db.usage.get_by_id(theirs.id)).cost_usd is None


async def test_a_range_ends_before_its_end(db: Database, api_key: APIKey, model: Model) -> None:
    await db.usage.create(used(api_key, model_id=model.id))
    assert (await reprice(db.usage, db.models, START - timedelta(days=1), START)).seen == 0


async def test_a_record_of_a_model_knows_how_it_was_priced(db: Database, api_key: APIKey, clock: ManualClock) -> None:
    model = await db.models.create(Model(name="m", prices=PRICES))
    model = await db.models.get_by_name("m")
    usage = BillableUsage(input_tokens=100, output_tokens=10, audio_input_tokens=40)
    record = model.usage_record(
        api_key.id, usage, request_timestamp=START, pricing_context={"batch": True}, endpoint="/v1/batches"
    )
    await db.usage.create(record)
    clock.advance(60)
    changed = await db.models.update(replace(model, prices={"input_cost_per_token": "9"}))
    stored = await db.usage.get_by_id(record.id)
    assert stored.billable_usage == usage
    assert stored.price_version == 1
    assert changed.explain(stored).total == stored.cost_usd == Decimal("0.7")
    report = await reprice(db.usage, db.models, START, END, unpriced_only=False)
    assert (report.seen, report.changed) == (1, 0)


async def test_a_record_of_what_has_no_price_is_unpriced(db: Database, api_key: APIKey) -> None:
    free = Model(name="free", prices={"input_cost_per_token": "0", "output_cost_per_token": "0"})
    usage = BillableUsage(input_tokens=1, output_tokens=1)
    assert Model(name="bare").usage_record(api_key.id, usage).cost_usd is None
    assert free.usage_record(api_key.id, usage).cost_usd == 0


async def test_a_context_of_another_program_stops_nothing(db: Database, api_key: APIKey, model: Model) -> None:
    odd = used(api_key, model_id=model.id, pricing_context={"color": "blue"})
    contradicting = replace(used(api_key, model_id=model.id), cached_tokens=1000)
    await db.usage.create_many([odd, contradicting, used(api_key, model_id=model.id)])
    report = await reprice(db.usage, db.models, START, END)
    assert (report.changed, report.still_unpriced) == (1, 2)


async def test_progress_counts_up_to_all_records(db: Database, api_key: APIKey, model: Model) -> None:
    await db.usage.create_many([used(api_key, model_id=model.id) for _ in range(BATCH_ROWS + 1)])
    await db.usage.create(used(api_key, cost_usd=Decimal(1)))
    steps: list[tuple[int, int]] = []
    await reprice(db.usage, db.models, START, END, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(BATCH_ROWS, BATCH_ROWS + 1), (BATCH_ROWS + 1, BATCH_ROWS + 1)]
    steps.clear()
    again = reprice(
        db.usage, db.models, START, END, unpriced_only=False, progress=lambda done, total: steps.append((done, total))
    )
    await again
    assert steps[-1] == (BATCH_ROWS + 2, BATCH_ROWS + 2)
