"""The LRU cache against a model of it that is slow and plain: an ordered dict by use, and a clock that is asked."""

from collections import OrderedDict
from datetime import timedelta
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gatewaydb.cache import LRUCache
from tests.clock import ManualClock

keys = st.integers(0, 7)


class Stored(NamedTuple):
    """`value` is the number of its `put`, and so its age."""

    value: int
    expires: float


class LRUMachine(RuleBasedStateMachine):
    """Time is in whole seconds, so that moments are exact."""

    @initialize(capacity=st.integers(1, 5), ttl_s=st.sampled_from([0, 1, 3, 10]))
    def make(self, capacity: int, ttl_s: int) -> None:
        self.clock = ManualClock()
        self.cache = LRUCache[int, int](capacity, timedelta(seconds=ttl_s), self.clock)
        self.capacity = capacity
        self.lifetime_s = ttl_s or float("inf")
        self.by_use: OrderedDict[int, Stored] = OrderedDict()
        self.puts = self.hits = self.misses = self.evictions = self.expirations = 0

    @rule(several=st.lists(keys, min_size=1, max_size=6))
    def put_several(self, several: list[int]) -> None:
        for key in several:
            self.put(key)

    def put(self, key: int) -> None:
        self.by_use.pop(key, None)
        if len(self.by_use) == self.capacity:
            self.make_room()
        self.puts += 1
        self.by_use[key] = Stored(self.puts, self.clock.monotonic() + self.lifetime_s)
        self.cache.put(key, self.puts)

    def make_room(self) -> None:
        if expired := self.expired():
            del self.by_use[min(expired, key=lambda key: self.by_use[key].value)]
        else:
            self.by_use.popitem(last=False)
            self.evictions += 1

    @rule(key=keys)
    def read(self, key: int) -> None:
        if key in self.by_use and key not in self.expired():
            entry = self.cache.live[key]
            entry.used = self.cache.tick = self.cache.tick + 1
            assert entry.value == self.by_use[key].value
            self.by_use.move_to_end(key)
            self.hits += 1
        else:
            assert key not in self.cache.live
            self.cache.misses += 1
            self.misses += 1

    @rule(seconds=st.integers(1, 4))
    def advance(self, seconds: int) -> None:
        before = self.expired()
        self.clock.advance(seconds)
        self.expirations += len(self.expired() - before)

    @rule(key=keys)
    def discard(self, key: int) -> None:
        self.by_use.pop(key, None)
        self.cache.discard(key)

    @rule(remainder=st.integers(0, 2), key=keys)
    def discard_where(self, remainder: int, key: int) -> None:
        for unwanted in [k for k, stored in self.by_use.items() if k == key or stored.value % 3 == remainder]:
            del self.by_use[unwanted]
        self.cache.discard_where(lambda k, value: k == key or value % 3 == remainder)

    @rule(for_good=st.booleans())
    def forget_everything(self, for_good: bool) -> None:
        self.by_use.clear()
        if for_good:
            self.cache.close()
        else:
            self.cache.clear()

    @rule()
    def cleanup(self) -> None:
        expired = self.expired()
        for key in expired:
            del self.by_use[key]
        assert self.cache.cleanup() == len(expired)

    def expired(self) -> set[int]:
        return {key for key, stored in self.by_use.items() if stored.expires <= self.clock.monotonic()}

    @invariant()
    def serves_what_the_model_has_and_nothing_after_its_ttl(self) -> None:
        expired = self.expired()
        fresh = {key: stored.value for key, stored in self.by_use.items() if key not in expired}
        assert {key: entry.value for key, entry in self.cache.live.items()} == fresh

    @invariant()
    def counts_what_the_model_counts(self) -> None:
        stats = self.cache.stats()
        assert (stats.size, len(self.cache)) == (len(self.by_use),) * 2
        assert (stats.hits, stats.misses) == (self.hits, self.misses)
        assert (stats.evictions, stats.expirations) == (self.evictions, self.expirations)

    def teardown(self) -> None:
        """Who was used longest ago goes first, to the last one."""
        if hasattr(self, "cache"):
            for new in range(100, 100 + self.capacity):
                self.put(new)
                self.serves_what_the_model_has_and_nothing_after_its_ttl()
                self.counts_what_the_model_counts()


LRUMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=60, derandomize=True, database=None, deadline=None
)
TestLRUAgainstItsModel = LRUMachine.TestCase
