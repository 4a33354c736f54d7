"""What cached values weigh: all that stays allocated when thousands of them were loaded through the repository."""

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

from msgspec.structs import replace

from benchmarks.databases import Bench, on_engines
from benchmarks.harness import Goal, Row, at_most, row_of
from gatewaydb import APIKey, BillableUsage, Database, DatabaseConfig, Model
from gatewaydb.catalog import read_catalog
from gatewaydb.entities.base import new_id
from gatewaydb.entities.frozen import EMPTY

TEAMS = 50
RATE_LIMITS = (60, 100, 600, 1_000, 3_000)
BUDGETS_USD = ("50", "100", "250.50", "1000", "25000")
ALLOWED_MODELS = ((), ("gpt-4o", "gpt-4o-mini"), ("openai/*", "claude-sonnet-4"))


def measure(bench: Bench) -> list[Row]:
    """API keys with every field set, and models, as they come from each engine."""
    return asyncio.run(on_engines(bench, _rows))


async def _rows(bench: Bench, engine: str) -> list[Row]:
    sizes = bench.sizes
    models, alike = await _models(sizes.catalog_models, sizes.keys)
    most = max(sizes.cached_keys, len(models))
    config = DatabaseConfig(
        url=await bench.make_database(engine), api_key_cache_size=most, model_cache_size=most, query_timeout="1m"
    )
    async with Database(config) as db:
        like_others = await _create_keys(db, _key_like_others, sizes.cached_keys)
        unlike = await _create_keys(db, _key_of_its_own, sizes.cached_keys)
        for batch in (models, alike):
            await db.models.create_many(batch)
        names = [model.name for model in models]
        twins = [model.name for model in alike]
        return [
            _row(
                f"API key, its team one of {TEAMS}",
                engine,
                await _bytes_each(db.api_keys.get_by_hash, like_others),
                650,
            ),
            _row("API key, nothing like another's", engine, await _bytes_each(db.api_keys.get_by_hash, unlike)),
            _row(f"model, mean of {len(names)}", engine, await _bytes_each(db.models.get_by_name, names), 4096),
            _row("model like gpt-4o", engine, await _bytes_each(db.models.get_by_name, twins), 4096),
            _row("the same, its costs asked for", engine, await _bytes_each(_priced(db), twins)),
        ]


def _row(subject: str, engine: str, size: float, limit: float | None = None) -> Row:
    goal: Goal | None = None if limit is None else at_most(limit)
    return row_of([size], benchmark="memory", subject=subject, on=engine, unit="bytes", goal=goal)


async def _models(most: int | None, copies: int) -> tuple[list[Model], list[Model]]:
    """The catalog's models, and copies of gpt-4o; what the catalog says beyond the fields is left out."""
    catalog = await read_catalog()
    gpt_4o = next(model for model in catalog.models if model.name == "gpt-4o")
    models = [replace(model, metadata=EMPTY) for model in catalog.models[:most]]
    return models, [replace(gpt_4o, id=new_id(), name=f"gpt-4o, {n}", metadata=EMPTY) for n in range(copies)]


async def _create_keys(db: Database, make: Callable[[int], APIKey], count: int) -> list[str]:
    keys = [make(number) for number in range(count)]
    async with db.transaction() as tx:
        for key in keys:
            await tx.api_keys.create(key)
    return [key.key_hash for key in keys]


def _key_like_others(number: int) -> APIKey:
    """Every field is set; what people choose from a few, many keys have alike."""
    return APIKey(
        name=f"service-{number:04}",
        key_hash=sha256(f"like {number}".encode()).hexdigest(),
        allowed_models=ALLOWED_MODELS[number % len(ALLOWED_MODELS)],
        rate_limit_per_minute=RATE_LIMITS[number % len(RATE_LIMITS)],
        monthly_budget_usd=Decimal(BUDGETS_USD[number % len(BUDGETS_USD)]),
        expires_at=datetime.now(UTC) + timedelta(days=90, seconds=number),
        metadata={"owner": {"team": f"team-{number % TEAMS}"}},
    )


def _key_of_its_own(number: int) -> APIKey:
    return replace(
        _key_like_others(number),
        id=new_id(),
        key_hash=sha256(f"unlike {number}".encode()).hexdigest(),
        allowed_models=(f"model-{number}",),
        rate_limit_per_minute=1_000 + number,
        monthly_budget_usd=Decimal(number),
        metadata={"owner": {"email": f"someone-{number}@example.com"}},
    )


def _priced(db: Database) -> Callable[[str], Awaitable[object]]:
    async def get_and_price(name: str) -> object:
        return (await db.models.get_by_name(name)).cost_of(BillableUsage(1_200, 300))

    db.models.apply_change(None)
    return get_and_price


async def _bytes_each(read: Callable[[str], Awaitable[object]], keys: Sequence[str]) -> float:
    """What one of the reads leaves allocated. Each asks with a text of its own, as a request does."""
    await read(keys[0])
    gc.collect()
    tracemalloc.start()
    try:
        for key in keys[1:]:
            await read(key.encode().decode())
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / (len(keys) - 1)
    finally:
        tracemalloc.stop()
