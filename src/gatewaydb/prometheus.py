"""The numbers of `db.stats()` as Prometheus metrics. They are read when somebody scrapes; counting costs nothing more.

    from prometheus_client import REGISTRY
    from gatewaydb.prometheus import DatabaseCollector

    REGISTRY.register(DatabaseCollector(db))

It needs the extra, `pip install 'gatewaydb[prometheus]'`; without it this module is a ModuleNotFoundError that says so.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any, NamedTuple, get_args

from gatewaydb import __version__
from gatewaydb.database import Database, DatabaseStats
from gatewaydb.engines.change_watch import ListenerState
from gatewaydb.errors import ConfigurationError

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "metrics need prometheus-client: pip install 'gatewaydb[prometheus]'", name=error.name
    ) from None

_Family = CounterMetricFamily | GaugeMetricFamily
_LABEL = re.compile("(?!__)[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_UNITS = ("seconds", "bytes")


class _Metric(NamedTuple):
    """`read` gives the value, None where there is none now, or a value for each value of `label`."""

    kind: type[_Family]
    name: str
    read: Callable[[Any], Any]
    help: str
    label: str | None = None

    def family(self, labels: Iterable[str]) -> _Family:
        """The metric without samples, in the unit that its name ends with."""
        unit = self.name.rpartition("_")[2]
        own = [] if self.label is None else [self.label]
        return self.kind(self.name, self.help, labels=[*labels, *own], unit=unit if unit in _UNITS else "")

    def add(self, family: _Family, labels: list[str], source: object) -> None:
        """Adds the samples of one source."""
        found = self.read(source)
        if self.label is None:
            found = {} if found is None else {None: found}
        for own, value in found.items():
            number = value.total_seconds() if isinstance(value, timedelta) else float(value)
            family.add_metric(labels if own is None else [*labels, own], number)


class _Part(NamedTuple):
    """Metrics of the same sources, which the values of `labels` tell apart."""

    labels: tuple[str, ...]
    sources: Callable[[DatabaseStats], Iterable[tuple[tuple[str, ...], object]]]
    metrics: tuple[_Metric, ...]


def _count(name: str, field: str, text: str) -> _Metric:
    return _Metric(CounterMetricFamily, name, attrgetter(field), text)


def _now(name: str, field: str, text: str) -> _Metric:
    return _Metric(GaugeMetricFamily, name, attrgetter(field), text)


_POOL = (
    _Metric(
        GaugeMetricFamily,
        "gatewaydb_pool_connections",
        lambda stats: {"idle": stats.idle, "in_use": stats.in_use},
        "Open connections by state.",
        "state",
    ),
    _now("gatewaydb_pool_max_connections", "max_open_connections", "Connections that may be open at most."),
    _count("gatewaydb_pool_waits", "wait_count", "Callers who had to wait for a connection."),
    _count("gatewaydb_pool_wait_seconds", "wait_duration", "Time that callers waited for connections in all."),
    _Metric(
        CounterMetricFamily,
        "gatewaydb_pool_closed_connections",
        lambda stats: {"max_idle": stats.max_idle_closed, "max_lifetime": stats.max_lifetime_closed},
        "Connections closed by the pool, by reason.",
        "reason",
    ),
    _count("gatewaydb_replica_fallbacks", "replica_fallbacks", "Reports that the primary answered for the replica."),
)
_CACHES = (
    _now("gatewaydb_cache_entries", "size", "Entries in the cache, expired ones that were not removed yet included."),
    _now("gatewaydb_cache_max_entries", "capacity", "Entries that the cache has room for."),
    _now("gatewaydb_cache_ttl_seconds", "ttl", "How long an entry is served; 0: without end."),
    _count("gatewaydb_cache_hits", "hits", "Reads that the cache answered."),
    _count("gatewaydb_cache_misses", "misses", "Reads that it did not answer."),
    _count("gatewaydb_cache_evictions", "evictions", "Entries that went for want of room."),
    _count("gatewaydb_cache_expirations", "expirations", "Entries whose TTL ended."),
    _now("gatewaydb_cache_absent_entries", "absent_size", "Remembered keys that do not exist."),
    _count("gatewaydb_cache_absent_hits", "absent_hits", "Misses that a remembered not-found answered."),
    _count("gatewaydb_cache_stale_served", "stale_served", "Misses that an expired entry answered during an outage."),
    _now("gatewaydb_cache_loads_in_flight", "loads_in_flight", "Values that are being loaded now."),
    _count("gatewaydb_cache_coalesced", "coalesced", "Misses that the query of another answered."),
)
_CHANGE_FEED = (
    _Metric(
        GaugeMetricFamily,
        "gatewaydb_change_feed_listener",
        lambda stats: {state: state == stats.listener for state in get_args(ListenerState)},
        "1 for the state that the watch for others' changes is in, 0 for the other states.",
        "state",
    ),
    _now("gatewaydb_change_feed_lag_seconds", "lag", "What the last change of another took to get here."),
    _now("gatewaydb_change_feed_behind_seconds", "behind", "How long ago all changes until then were known."),
    _count("gatewaydb_change_feed_messages", "messages", "Notifications received."),
    _count("gatewaydb_change_feed_polls", "polls", "Times that the log of changes was looked at."),
    _count("gatewaydb_change_feed_changes", "changes", "Changes of others that were applied."),
    _count("gatewaydb_change_feed_clears", "clears", "Times that everything was forgotten."),
    _count("gatewaydb_change_feed_reconnects", "reconnects", "Connections of the watch that were made again."),
)
_RECORDERS = (
    _now("gatewaydb_recorder_backlog_bytes", "backlog_bytes", "What is in the journal and not in the database yet."),
    _now("gatewaydb_recorder_max_bytes", "max_bytes", "The journal's bound."),
    _now("gatewaydb_recorder_backlog_records", "backlog_records", "Records that are not in the database yet."),
    _now("gatewaydb_recorder_oldest_age_seconds", "oldest_age", "Age of the oldest record of the backlog."),
    _now("gatewaydb_recorder_waiting", "waiting", "Callers who wait for room in the journal."),
    _Metric(
        GaugeMetricFamily,
        "gatewaydb_recorder_failing",
        lambda stats: stats.last_error is not None,
        "1 while the database takes no records, 0 while it does.",
    ),
    _count("gatewaydb_recorder_recorded", "recorded", "Records that were acknowledged."),
    _count("gatewaydb_recorder_found", "found", "Records that an earlier process had left."),
    _count("gatewaydb_recorder_shipped", "shipped", "Records that are in the database."),
    _count("gatewaydb_recorder_rejected", "rejected", "Records that the database refused and that were set aside."),
    _count("gatewaydb_recorder_quarantined", "quarantined", "Records damaged on the disk and set aside."),
    _count("gatewaydb_recorder_dropped", "dropped", "Records that are in none of these: 0, unless files were removed."),
    _count("gatewaydb_recorder_torn", "torn", "Frames that a crash cut off before they were acknowledged."),
)
_PARTS = (
    _Part((), lambda stats: [((), stats)], _POOL),
    _Part(("cache",), lambda stats: [(("api_keys",), stats.api_key_cache), (("models",), stats.model_cache)], _CACHES),
    _Part((), lambda stats: [((), stats.change_feed)], _CHANGE_FEED),
    _Part(("journal",), lambda stats: [((_readable(each.path),), each) for each in stats.recorders], _RECORDERS),
)
_OWN_LABELS = {"engine", "version", "cache", "journal", "state", "reason"}


class DatabaseCollector(Collector):
    """What to register: `registry.register(DatabaseCollector(db))`. Any thread may scrape.

    A process with several databases registers one collector for all of them, `{"name": db, ...}`, and each sample bears
    the name as the label `database`. `labels` are put on every sample. Raises ConfigurationError.
    """

    def __init__(
        self, databases: Database | Mapping[str, Database], *, labels: Mapping[str, str] | None = None
    ) -> None:
        given = _checked(labels or {})
        if isinstance(databases, Database):
            self._databases = [(given, databases)]
        elif "database" in given:
            raise ConfigurationError("labels: 'database' is the name of each database here")
        else:
            self._databases = [(given | {"database": name}, db) for name, db in databases.items()]
        self._labels = list(self._databases[0][0]) if self._databases else []

    def describe(self) -> "Iterable[_Family | InfoMetricFamily]":
        """All metrics, without samples: with these a registry finds out whether names collide."""
        return [self._info(), *self._families().values()]

    def collect(self) -> "Iterable[_Family | InfoMetricFamily]":
        """The numbers of now."""
        info, families = self._info(), self._families()
        for labels, db in self._databases:
            engine = "sqlite" if db.config.is_sqlite else "postgresql"
            info.add_metric(list(labels.values()), {"version": __version__, "engine": engine})
            stats = db.stats()
            for part in _PARTS:
                for own, source in part.sources(stats):
                    for metric in part.metrics:
                        metric.add(families[metric.name], [*labels.values(), *own], source)
        return [info, *families.values()]

    def _info(self) -> InfoMetricFamily:
        return InfoMetricFamily("gatewaydb", "The version of the package, and the engine.", labels=self._labels)

    def _families(self) -> dict[str, _Family]:
        return {metric.name: metric.family([*self._labels, *part.labels]) for part in _PARTS for metric in part.metrics}


def _checked(labels: Mapping[str, str]) -> dict[str, str]:
    for name, value in labels.items():
        if not _LABEL.fullmatch(name) or name in _OWN_LABELS:
            raise ConfigurationError(f"labels: {name!r} is no name for a label, or one of the collector's own")
        if not isinstance(value, str):
            raise ConfigurationError(f"labels: the value of {name!r} must be text, not {type(value).__name__}")
    return dict(labels)


def _readable(path: str) -> str:
    # A name that is not UTF-8 would break the whole scrape.
    return os.fsencode(path).decode(errors="backslashreplace")
