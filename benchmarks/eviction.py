"""What the cache's hits save is paid here: storing into a full cache, under traffic that hits it, too."""

import asyncio
from datetime import timedelta
from time import perf_counter

from benchmarks.databases import Bench
from benchmarks.harness import Row, row_of, without_gc, zipf
from gatewaydb.cache import LRUCache
from gatewaydb.clock import SYSTEM_CLOCK

EXPONENT = 0.9
KEYS_PER_ENTRY = 10
TTL = timedelta(minutes=5)


def measure(bench: Bench) -> list[Row]:
    """A small and a large cache, each with a tenth of the keys in it."""
    sizes = bench.sizes
    return [row for capacity in (sizes.small_cache, sizes.large_cache) for row in asyncio.run(_rows(bench, capacity))]


async def _rows(bench: Bench, capacity: int) -> list[Row]:
    keys = [f"{number:064x}" for number in range(capacity * KEYS_PER_ENTRY)]
    cache: LRUCache[str, str] = LRUCache(capacity, TTL, SYSTEM_CLOCK)
    for key in keys[:capacity]:
        cache.put(key, key)
    asked = zipf(keys, bench.sizes.cache_calls, EXPONENT)
    pauses = _pauses(cache, asked)
    cache.close()
    figures = f"{len(pauses):,} of {len(asked):,} calls"
    subject, mean = f"put at {capacity:,} entries", sum(pauses) / len(pauses)
    return [
        row_of([mean * 1e6], benchmark="eviction", subject=f"{subject}, mean", unit="us", figures=figures),
        row_of([max(pauses) * 1e3], benchmark="eviction", subject=f"{subject}, longest", unit="ms"),
    ]


def _pauses(cache: LRUCache[str, str], asked: list[str]) -> list[float]:
    """The seconds of every put; the clock around it is in them."""
    pauses: list[float] = []
    with without_gc():
        for key in asked:
            entry = cache.live.get(key)
            if entry is not None:
                entry.used = cache.tick = cache.tick + 1
                continue
            start = perf_counter()
            cache.put(key, key)
            pauses.append(perf_counter() - start)
    return pauses
