"""The guide's own sequence of calls, from the first key to the summary, with and without prepared statements."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec.structs import replace

from gatewaydb import APIKeyNotFoundError, Database, DatabaseConfig, Model, ModelAlias, Provider, UsageRecord
from tests.conftest import ENCRYPTION_KEY


@pytest.fixture(params=[True, False], ids=["prepared", "for PgBouncer"])
def config(request: pytest.FixtureRequest, database_url: str) -> DatabaseConfig:
    return DatabaseConfig(
        url=database_url, encryption_keys=ENCRYPTION_KEY, prepared_statements=request.param, max_open_conns=1
    )


async def _day(db: Database) -> None:
    provider = await db.providers.create(Provider(name="openai", credentials={"api_key": "x"}))
    prices = {"input_cost_per_token": "0.00003", "output_cost_per_token": "0.00006"}
    model = await db.models.create(Model(name="gpt-4", provider_id=provider.id, prices=prices))
    await db.model_aliases.create(ModelAlias(alias="fast", model_id=model.id, tags={"team": "a"}))
    key, secret = await db.api_keys.issue("Production Key", allowed_models=["gpt-4", "fast"])
    await db.api_keys.set_metadata(key.id, "tag", "environment", "production")

    caller = await db.api_keys.authenticate(secret)
    called = await db.models.get_by_name("fast")
    assert caller.is_valid()
    assert caller.allows_model(called)
    assert caller.metadata == {"tag": {"environment": "production"}}
    await _use(db, caller.id, called)
    assert [found.name for found in await db.models.search("gtp", 10)] == ["gpt-4"]
    assert await db.api_keys.list(50, 0) == [caller]
    await _change(db, caller.key_hash)


async def _use(db: Database, api_key_id: object, model: Model) -> None:
    cost = model.calculate_cost(1000, 500, 0, 0, 0, 0, 0, 0)
    records: Sequence[UsageRecord] = [
        UsageRecord(
            api_key_id=api_key_id,  # type: ignore[arg-type]
            model_id=model.id,
            provider_id=model.provider_id,
            prompt_tokens=1000,
            completion_tokens=500,
            cost_usd=cost,
            request_metadata={"user": "test@example.com"},
            response_metadata={"finish_reason": "stop"},
        )
        for _ in range(10)
    ]
    await db.usage.create(records[0])
    assert await db.usage.create_many(records) == 9
    key_id, now = records[0].api_key_id, datetime.now(UTC) + timedelta(seconds=1)
    start = now - timedelta(days=30)
    assert await db.usage.get_total_cost_by_api_key(key_id, start, now) == Decimal("0.6")
    assert await db.usage.get_total_tokens_by_api_key(key_id, start, now) == (10_000, 5_000, 15_000)
    assert len(await db.usage.get_by_api_key(key_id, start, now, 5, 5)) == 5
    at = records[0].request_timestamp
    kept = await db.monthly_summaries.get_by_api_key_and_month(key_id, at.year, at.month)
    refreshed = await db.monthly_summaries.refresh_summary(key_id, at.year, at.month)
    assert replace(refreshed, updated_at=kept.updated_at) == kept


async def _change(db: Database, key_hash: str) -> None:
    key = await db.api_keys.get_by_hash(key_hash)
    async with db.transaction() as tx:
        await tx.api_keys.update(replace(key, name="renamed"))
        async with tx.transaction() as inner:
            await inner.api_keys.set_enabled(key.id, False)
        assert await tx.fetch("SELECT name FROM api_keys WHERE name = $1", "renamed") == [{"name": "renamed"}]
    assert not (await db.api_keys.get_by_hash(key_hash)).is_valid()
    await db.api_keys.delete(key.id)
    with pytest.raises(APIKeyNotFoundError):
        await db.api_keys.get_by_hash(key_hash)


async def test_a_day_of_the_guide(db: Database, dialect: str) -> None:
    await _day(db)
    if dialect == "postgres":
        async with db.transaction() as tx:
            (row,) = await tx.fetch("SELECT count(*) AS n FROM pg_prepared_statements")
        # PgBouncer in transaction mode gives each transaction another server connection, which would not know them.
        assert (row["n"] > 0) == db.config.prepared_statements
