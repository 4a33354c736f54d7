"""The first import of the bundled catalog, from reading it to the commit."""

import asyncio
from time import perf_counter

from msgspec.structs import replace

from benchmarks.databases import Bench, on_engines
from benchmarks.harness import Row, at_most, row_of
from gatewaydb import Database
from gatewaydb.catalog import import_catalog, read_catalog


def measure(bench: Bench) -> list[Row]:
    """Each import begins with a new database."""
    return asyncio.run(on_engines(bench, _rows))


async def _rows(bench: Bench, engine: str) -> list[Row]:
    most = bench.sizes.catalog_models
    urls = [await bench.make_database(engine) for _ in range(bench.sizes.catalog_rounds)]
    seconds = [await _import_seconds(url, most) for url in urls]
    models = (await read_catalog()).models[:most]
    figures = f"{len(models):,} models, {sum(len(model.price_sheet) for model in models):,} prices"
    return [
        row_of(seconds, benchmark="catalog", subject="import", on=engine, unit="s", goal=at_most(3), figures=figures)
    ]


async def _import_seconds(url: str, most: int | None) -> float:
    async with Database(url) as db:
        start = perf_counter()
        catalog = await read_catalog()
        async with db.transaction() as tx:
            await import_catalog(tx.models, replace(catalog, models=catalog.models[:most]))
        return perf_counter() - start
