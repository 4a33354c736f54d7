"""What the cache's hits save is paid here: storing into a full cache, under traffic that hits it, too."""

import asyncio
from datetime import timedelta
from time import perf_counter
from typing import Any

from benchmarks.databases import Bench
from benchmarks.harness import Row, row_of, without_gc, zipf
from gatewaydb.cache import Cache, LRUCache, SieveCache
from gatewaydb.clock import SYSTEM_CLOCK

EXPONENT = 0.9
KEYS_PER_ENTRY = 10
TTL = timedelta(minutes=5)
POLICIES: dict[str, type[LRUCache[Any, Any]] | type[SieveCache[Any, Any]]] = {"LRU": LRUCache, "SIEVE": SieveCache}


def measure(bench: Bench) -> list[Row]:
    """A small and a large cache of each policy, each with a tenth of the keys in it."""
    sizes = bench.sizes
    return [
        row
        for policy in POLICIES
        for capacity in (sizes.small_cache, sizes.large_cache)
        for row in asyncio.run(_rows(bench, policy, capacity))
    ]


async def _rows(bench: Bench, policy: str, capacity: int) -> list[Row]:
    keys = [f"{number:064x}" for number in range(capacity * KEYS_PER_ENTRY)]
    cache: Cache[str, str] = POLICIES[policy](capacity, TTL, SYSTEM_CLOCK)
    for key in keys[:capacity]:
        cache.put(key, key)
    asked = zipf(keys, bench.sizes.cache_calls, EXPONENT)
    pauses = _pauses(cache, asked)
    cache.close()
    figures = f"{len(pauses):,} of {len(asked):,} calls"
    subject, mean = f"{policy}, put at {capacity:,} entries", sum(pauses) / len(pauses)
    return [
        row_of([mean * 1e6], benchmark="eviction", subject=f"{subject}, mean", unit="us", figures=figures),
        row_of([max(pauses) * 1e3], benchmark="eviction", subject=f"{subject}, longest", unit="ms"),
    ]


def _pauses(cache: Cache[str, str], asked: list[str]) -> list[float]:
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
