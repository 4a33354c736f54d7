"""How often each policy has what is asked for, by callers as they are, and while something reads every key once."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import count

from benchmarks.databases import Bench
from benchmarks.eviction import EXPONENT, KEYS_PER_ENTRY, POLICIES
from benchmarks.harness import Row, at_least, row_of, zipf
from gatewaydb.cache import Cache
from gatewaydb.clock import SYSTEM_CLOCK

SCAN_EVERY = 10
ZIPF, SCAN = f"zipf {EXPONENT}", f"zipf {EXPONENT} and a scan"


def measure(bench: Bench) -> list[Row]:
    """Of a cache that holds a tenth of the keys. What a scan itself asks for is not counted."""
    capacity = bench.sizes.small_cache
    asked = zipf(range(capacity * KEYS_PER_ENTRY), bench.sizes.cache_calls, EXPONENT)
    rows: list[Row] = []
    for trace, scan_every in ((ZIPF, None), (SCAN, SCAN_EVERY)):
        rates = {
            name: _hit_rate(policy(capacity, timedelta(0), SYSTEM_CLOCK), asked, scan_every)
            for name, policy in POLICIES.items()
        }
        rows += [_row(f"{name}, {trace}", 100 * rate, "%") for name, rate in rates.items()]
        rows.append(_row(f"SIEVE above LRU, {trace}", 100 * (rates["SIEVE"] - rates["LRU"]), "points", 8))
    return rows


def _row(subject: str, value: float, unit: str, goal: float | None = None) -> Row:
    return row_of(
        [value], benchmark="hit rates", subject=subject, unit=unit, goal=None if goal is None else at_least(goal)
    )


def _hit_rate(cache: Cache[int, int], asked: Sequence[int], scan_every: int | None) -> float:
    """Of the second half: the first fills the cache and settles it."""
    hits = 0
    scanned = count(-1, -1)
    for number, key in enumerate(asked):
        hits += _ask(cache, key) and number >= len(asked) // 2
        if scan_every and number % scan_every == 0:
            _ask(cache, next(scanned))
    return hits / (len(asked) - len(asked) // 2)


def _ask(cache: Cache[int, int], key: int) -> bool:
    entry = cache.live.get(key)
    if entry is None:
        cache.put(key, key)
        return False
    entry.used = cache.tick = cache.tick + 1
    return True
