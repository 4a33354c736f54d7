"""Each cache against a model of it that is slow and plain, and a clock that is asked."""

from collections import OrderedDict
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gatewaydb.cache import Cache, LRUCache, SieveCache
from tests.clock import ManualClock

keys = st.integers(0, 7)
ALL_KEYS = [*range(8), *range(100, 105)]


class Stored(NamedTuple):
    """`value` is the number of its `put`, and so its age."""

    value: int
    expires: float


class Policy(Protocol):
    """Who goes, of those that are not expired."""

    def add(self, key: int) -> None: ...

    def use(self, key: int) -> None: ...

    def remove(self, key: int) -> None: ...

    def victim(self) -> int: ...


class LRUPolicy:
    """The one whose last use is the longest ago."""

    def __init__(self) -> None:
        self.by_use: OrderedDict[int, None] = OrderedDict()

    def add(self, key: int) -> None:
        self.by_use[key] = None

    def use(self, key: int) -> None:
        self.by_use.move_to_end(key)

    def remove(self, key: int) -> None:
        self.by_use.pop(key, None)

    def victim(self) -> int:
        return next(iter(self.by_use))


class SievePolicy:
    """The first that the hand finds unused on its way from the oldest to the newest, over and over."""

    def __init__(self) -> None:
        self.queue: list[int] = []
        self.used: set[int] = set()
        self.hand = 0

    def add(self, key: int) -> None:
        self.queue.append(key)

    def use(self, key: int) -> None:
        self.used.add(key)

    def remove(self, key: int) -> None:
        if key in self.queue:
            self.hand -= self.queue.index(key) < self.hand
            self.queue.remove(key)
            self.used.discard(key)

    def victim(self) -> int:
        while True:
            if self.hand >= len(self.queue):
                self.hand = 0
            key = self.queue[self.hand]
            if key not in self.used:
                return key
            self.used.remove(key)
            self.hand += 1


class CacheMachine(RuleBasedStateMachine):
    """Time is in whole seconds, so that moments are exact."""

    kind: Any
    policy_kind: Any

    @initialize(capacity=st.integers(1, 5), ttl_s=st.sampled_from([0, 1, 3, 10]), stale_s=st.sampled_from([0, 2, 5]))
    def make(self, capacity: int, ttl_s: int, stale_s: int) -> None:
        self.clock = ManualClock()
        self.cache: Cache[int, int] = self.kind(
            capacity, timedelta(seconds=ttl_s), self.clock, timedelta(seconds=stale_s)
        )
        self.policy: Policy = self.policy_kind()
        self.capacity = capacity
        self.lifetime_s = ttl_s or float("inf")
        self.stale_s = stale_s
        self.stored: dict[int, Stored] = {}
        self.cleaned: set[int] = set()
        self.puts = self.hits = self.misses = self.evictions = self.expirations = 0

    @rule(several=st.lists(keys, min_size=1, max_size=6))
    def put_several(self, several: list[int]) -> None:
        for key in several:
            self.put(key)

    def put(self, key: int) -> None:
        self.remove(key)
        if len(self.stored) == self.capacity:
            self.make_room()
        self.puts += 1
        self.stored[key] = Stored(self.puts, self.clock.monotonic() + self.lifetime_s)
        self.policy.add(key)
        self.cache.put(key, self.puts)

    def make_room(self) -> None:
        if useless := self.cleaned or self.expired():
            self.remove(min(useless, key=lambda key: self.stored[key].value))
        else:
            self.remove(self.policy.victim())
            self.evictions += 1

    def remove(self, key: int) -> None:
        self.stored.pop(key, None)
        self.cleaned.discard(key)
        self.policy.remove(key)

    @rule(key=keys)
    def read(self, key: int) -> None:
        if key in self.stored and key not in self.expired():
            entry = self.cache.live[key]
            entry.used = self.cache.tick = self.cache.tick + 1
            assert entry.value == self.stored[key].value
            self.policy.use(key)
            self.hits += 1
        else:
            assert key not in self.cache.live
            self.cache.misses += 1
            self.misses += 1

    @rule(seconds=st.integers(1, 4))
    def advance(self, seconds: int) -> None:
        before = self.expired()
        self.clock.advance(seconds)
        for key in self.expired() - before:
            self.policy.remove(key)
            self.expirations += 1

    @rule(key=keys)
    def discard(self, key: int) -> None:
        self.remove(key)
        self.cache.discard(key)

    @rule(remainder=st.integers(0, 2), key=keys)
    def discard_where(self, remainder: int, key: int) -> None:
        for unwanted in [k for k, stored in self.stored.items() if k == key or stored.value % 3 == remainder]:
            self.remove(unwanted)
        self.cache.discard_where(lambda k, value: k == key or value % 3 == remainder)

    @rule(for_good=st.booleans())
    def forget_everything(self, for_good: bool) -> None:
        for key in list(self.stored):
            self.remove(key)
        if for_good:
            self.cache.close()
        else:
            self.cache.clear()

    @rule()
    def cleanup(self) -> None:
        expired = self.expired()
        assert self.cache.cleanup() == len(expired - self.cleaned)
        self.cleaned = expired
        for key in expired - self.standing_in().keys():
            self.remove(key)

    def expired(self) -> set[int]:
        return {key for key, stored in self.stored.items() if stored.expires <= self.clock.monotonic()}

    def standing_in(self) -> dict[int, int]:
        now = self.clock.monotonic()
        return {key: value for key, (value, expires) in self.stored.items() if expires <= now < expires + self.stale_s}

    @invariant()
    def serves_what_the_model_has_and_nothing_after_its_ttl(self) -> None:
        expired = self.expired()
        fresh = {key: stored.value for key, stored in self.stored.items() if key not in expired}
        assert {key: entry.value for key, entry in self.cache.live.items()} == fresh
        assert self.cache.room == self.capacity - len(fresh)

    @invariant()
    def what_stands_in_is_what_expired_lately_and_was_not_forgotten(self) -> None:
        stale = {key: entry.value for key in ALL_KEYS if (entry := self.cache.stale(key)) is not None}
        assert stale == self.standing_in()

    @invariant()
    def counts_what_the_model_counts(self) -> None:
        stats = self.cache.stats()
        assert (stats.size, len(self.cache)) == (len(self.stored) - len(self.cleaned),) * 2
        assert (stats.hits, stats.misses) == (self.hits, self.misses)
        assert (stats.evictions, stats.expirations) == (self.evictions, self.expirations)

    def teardown(self) -> None:
        """Whose turn it is goes first, to the last one."""
        if hasattr(self, "cache"):
            for new in range(100, 100 + self.capacity):
                self.put(new)
                self.serves_what_the_model_has_and_nothing_after_its_ttl()
                self.counts_what_the_model_counts()


class LRUMachine(CacheMachine):
    kind, policy_kind = LRUCache, LRUPolicy


class SieveMachine(CacheMachine):
    kind, policy_kind = SieveCache, SievePolicy


SETTINGS = settings(max_examples=150, stateful_step_count=60, derandomize=True, database=None, deadline=None)
LRUMachine.TestCase.settings = SieveMachine.TestCase.settings = SETTINGS
TestLRUAgainstItsModel = LRUMachine.TestCase
TestSieveAgainstItsModel = SieveMachine.TestCase
