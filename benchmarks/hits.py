"""Cache hits: keys and models that are there already, asked for as a gateway asks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from time import perf_counter
from typing import TypeVar

import uvloop
from aiocache import SimpleMemoryCache
from cachetools import TTLCache

from benchmarks.databases import SQLITE, Bench
from benchmarks.harness import Pass, Row, at_least, at_most, interleaved, seconds_each, zipf
from gatewaydb import APIKey, Database, Model

T = TypeVar("T")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
EXPONENT = 0.99
TTL_SECONDS = 300

BARE, BARE_MODEL = "bare coroutine", "bare coroutine, model"
GOALS = (
    ("get_by_hash", BARE, at_most(1.7)),
    ("get_by_hash", "cachetools TTLCache", at_least(2)),
    ("get_by_hash", "aiocache", at_least(25)),
    ("get_by_name", BARE_MODEL, at_most(1.7)),
    ("authenticate", "sha256 alone", at_most(1.7)),
)


def measure(bench: Bench) -> list[Row]:
    """Each row on asyncio's own loop and on uvloop."""
    rows: list[Row] = []
    for loop, factory in LOOPS.items():
        with asyncio.Runner(loop_factory=factory) as runner:
            rows += runner.run(_rows(bench, loop))
    return rows


async def _rows(bench: Bench, loop: str) -> list[Row]:
    async with Database(await bench.make_database(SQLITE)) as db:
        passes = await _key_passes(db, bench) | await _model_passes(db, bench)
        timings = await interleaved(passes, bench.sizes.rounds)
    return [timings.row(subject, against, goal, benchmark="hits", on=loop) for subject, against, goal in GOALS]


async def _key_passes(db: Database, bench: Bench) -> dict[str, Pass]:
    sizes = bench.sizes
    async with db.transaction() as tx:
        issued = [await tx.api_keys.issue(f"key {number}") for number in range(sizes.keys)]
    keys = {key.key_hash: await db.api_keys.get_by_hash(key.key_hash) for key, _ in issued}
    hashes = zipf(list(keys), sizes.calls, EXPONENT)
    secrets = zipf([secret for _, secret in issued], sizes.calls, EXPONENT)
    return {
        "get_by_hash": lambda: seconds_each(db.api_keys.get_by_hash, hashes),
        BARE: lambda: seconds_each(_bare(keys), hashes),
        "cachetools TTLCache": lambda: seconds_each(_bare(_cachetools(keys)), hashes),
        "aiocache": await _aiocache_pass(keys, hashes[: sizes.slow_calls]),
        "authenticate": lambda: seconds_each(db.api_keys.authenticate, secrets),
        "sha256 alone": lambda: _sha256_pass(secrets),
    }


async def _model_passes(db: Database, bench: Bench) -> dict[str, Pass]:
    await db.models.create_many([Model(name=f"provider/model-{number}") for number in range(bench.sizes.models)])
    names = [model.name for model in await db.models.list(bench.sizes.models)]
    models = {name: await db.models.get_by_name(name) for name in names}
    asked = zipf(names, bench.sizes.calls, EXPONENT)
    return {
        "get_by_name": lambda: seconds_each(db.models.get_by_name, asked),
        BARE_MODEL: lambda: seconds_each(_bare(models), asked),
    }


def _bare(values: Mapping[str, T]) -> Callable[[str], Awaitable[T]]:
    """The least that an awaited look-up can be."""

    async def get(key: str) -> T:
        return values[key]

    return get


def _cachetools(keys: Mapping[str, APIKey]) -> TTLCache[str, APIKey]:
    cache: TTLCache[str, APIKey] = TTLCache(len(keys), TTL_SECONDS)
    cache.update(keys)
    return cache


async def _aiocache_pass(keys: Mapping[str, APIKey], hashes: Sequence[str]) -> Pass:
    cache = SimpleMemoryCache(ttl=TTL_SECONDS)
    for key_hash, key in keys.items():
        await cache.set(key_hash, key)
    return lambda: seconds_each(cache.get, hashes)


async def _sha256_pass(secrets: Sequence[str]) -> float:
    start = perf_counter()
    for secret in secrets:
        sha256(secret.encode()).hexdigest()
    return (perf_counter() - start) / len(secrets)
