"""The metrics of `gatewaydb.prometheus`: scraped over HTTP, parsed, and compared with `db.stats()`."""

import asyncio
import re
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gatewaydb import (
    APIKeyNotFoundError,
    ConfigurationError,
    Database,
    DatabaseConfig,
    DatabaseStats,
    UsageRecord,
    __version__,
)
from gatewaydb.prometheus import DatabaseCollector
from tests.conftest import ENCRYPTION_KEY, MakeDatabase

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
parse_openmetrics: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@contextmanager
def served(collector: DatabaseCollector) -> Iterator[Callable[[str], str]]:
    """Prometheus' own server, which answers in threads of its own; a function that scrapes it."""
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape(accept: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=30) as response:
            return str(response.read().decode())

    try:
        yield scrape
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def samples(families: Iterable[Metric]) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def collected(collector: DatabaseCollector) -> Samples:
    return samples(collector.collect())


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"gatewaydb_{name}", frozenset(labels.items())]


async def test_a_scrape_over_http_shows_the_statistics(db: Database, tmp_path: Path) -> None:
    key, secret = await db.api_keys.issue("a")
    for _ in range(8):
        await db.api_keys.authenticate(secret)
    for _ in range(2):
        with pytest.raises(APIKeyNotFoundError):
            await db.api_keys.authenticate("sk-made-up")
    async with db.recorder(tmp_path / "journal") as recorder:
        await recorder.record(UsageRecord(api_key_id=key.id))
        await recorder.flush()
        stats = db.stats()
        with served(DatabaseCollector(db)) as scrape:
            texts = [await asyncio.to_thread(scrape, accept) for accept in ("text/plain", OPENMETRICS)]
    assert texts[1].endswith("# EOF\n")
    engine = "sqlite" if db.config.is_sqlite else "postgresql"
    for found in (samples(parse_text(texts[0])), samples(parse_openmetrics(texts[1]))):
        assert value(found, "info", version=__version__, engine=engine) == 1
        assert value(found, "pool_connections", state="idle") == stats.idle > 0
        assert value(found, "pool_connections", state="in_use") == 0
        assert value(found, "pool_max_connections") == 25
        assert value(found, "cache_hits_total", cache="api_keys") == stats.api_key_cache.hits == 7
        assert value(found, "cache_misses_total", cache="api_keys") == stats.api_key_cache.misses == 3
        assert value(found, "cache_absent_hits_total", cache="api_keys") == 1
        assert value(found, "cache_entries", cache="models") == 0
        assert value(found, "cache_ttl_seconds", cache="models") == 900
        assert value(found, "change_feed_listener", state=stats.change_feed.listener) == 1
        assert sum(number for (name, _), number in found.items() if name == "gatewaydb_change_feed_listener") == 1
        assert value(found, "change_feed_behind_seconds") >= 0
        journal = str(tmp_path / "journal")
        assert value(found, "recorder_shipped_total", journal=journal) == stats.recorders[0].shipped == 1
        assert value(found, "recorder_max_bytes", journal=journal) == 2**30
        assert value(found, "recorder_failing", journal=journal) == 0


async def test_a_closed_recorder_is_gone_and_open_ones_stand_in_order(db: Database, tmp_path: Path) -> None:
    async with db.recorder(tmp_path / "b"), db.recorder(tmp_path / "a"):
        assert [each.path for each in db.stats().recorders] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert db.stats().recorders == ()


def test_a_database_that_is_not_open_has_numbers_and_shows_no_secret() -> None:
    url = "postgresql://user:hush@nowhere/db"
    db = Database(DatabaseConfig(url=url, read_url=url, encryption_keys=ENCRYPTION_KEY))
    found = collected(DatabaseCollector(db, labels={"service": "gateway"}))
    assert found["gatewaydb_pool_connections", frozenset({("service", "gateway"), ("state", "idle")})] == 0
    assert not re.search(f"hush|nowhere|user|{ENCRYPTION_KEY}", repr(found))


def _numbered(stats: Struct) -> Iterator[tuple[str, Any]]:
    """Each field of the statistics, with another value than it has."""
    for name in stats.__struct_fields__:
        match getattr(stats, name):
            case timedelta() | None if name != "last_error":
                yield name, timedelta(seconds=77)
            case int() | float():
                yield name, 77
            case str() | None:
                yield name, "reconnecting"


# What the others tell: the sum of idle and in use, and the quotient of hits and reads.
DERIVED = {"open_connections", "hit_rate"}


async def test_every_number_is_shown(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    db = await make_database()
    async with db.recorder(tmp_path / "journal"):
        stats = db.stats()
    variants = {name: replace(stats, **{name: other}) for name, other in _numbered(stats)}
    for part in ("api_key_cache", "model_cache", "change_feed"):
        for name, other in _numbered(getattr(stats, part)):
            variants[f"{part}.{name}"] = replace(stats, **{part: replace(getattr(stats, part), **{name: other})})
    for name, other in _numbered(stats.recorders[0]):
        variants[f"recorders.{name}"] = replace(stats, recorders=(replace(stats.recorders[0], **{name: other}),))
    assert len(variants) >= 9 + 2 * 13 + 8 + 14

    def shown(given: DatabaseStats) -> Samples:
        monkeypatch.setattr(db, "stats", lambda: given)
        return collected(DatabaseCollector(db))

    hidden = {name for name, given in variants.items() if shown(given) == shown(stats)}
    assert {name.rpartition(".")[2] for name in hidden} == DERIVED


def test_names_and_types_are_by_the_conventions() -> None:
    for family in DatabaseCollector(Database("sqlite://")).describe():
        assert re.fullmatch("gatewaydb(_[a-z]+)*", family.name)
        assert not family.name.endswith("_total")
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "info")
        assert family.unit == next((unit for unit in ("seconds", "bytes") if family.name.endswith(unit)), "")


async def test_several_databases_are_told_apart_by_a_label(db: Database) -> None:
    other = Database("sqlite://")
    with served(DatabaseCollector({"main": db, "other": other}, labels={"zone": "b"})) as scrape:
        found = samples(parse_openmetrics(await asyncio.to_thread(scrape, OPENMETRICS)))
    idle = [value(found, "pool_connections", zone="b", database=name, state="idle") for name in ("main", "other")]
    assert idle == [db.stats().idle, 0]


def test_two_collectors_of_one_registry_are_refused() -> None:
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(Database("sqlite://")))
    with pytest.raises(ValueError, match="gatewaydb_pool_connections"):
        registry.register(DatabaseCollector(Database("sqlite://")))


@pytest.mark.parametrize("labels", [{"cache": "a"}, {"state": "a"}, {"a-b": "c"}, {"__a": "b"}, {"a": 1}])
def test_a_label_that_cannot_be_is_refused(labels: Any) -> None:
    with pytest.raises(ConfigurationError, match="labels: "):
        DatabaseCollector(Database("sqlite://"), labels=labels)


def test_the_label_database_is_taken_where_there_are_several() -> None:
    db = Database("sqlite://")
    assert list(DatabaseCollector(db, labels={"database": "a"}).collect())
    with pytest.raises(ConfigurationError, match="database"):
        DatabaseCollector({"a": db}, labels={"database": "a"})


async def test_a_path_that_is_not_utf_8_breaks_no_scrape(db: Database, tmp_path: Path) -> None:
    async with db.recorder(tmp_path / "j\udcff"):
        with served(DatabaseCollector(db)) as scrape:
            assert "j\\\\xff" in await asyncio.to_thread(scrape, "text/plain")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("prometheus_client.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "gatewaydb.prometheus")
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'gatewaydb[prometheus]'")):
        import gatewaydb.prometheus  # noqa: F401, PLC0415


async def _work(db: Database, folder: Path, rounds: int) -> None:
    """Hits, misses, evictions, and usage that is recorded and shipped."""
    secrets = [(await db.api_keys.issue(f"{number}"))[1] for number in range(6)]
    key = await db.api_keys.authenticate(secrets[0])
    async with db.recorder(folder / "journal") as recorder:
        for _ in range(rounds):
            await asyncio.gather(
                *(db.api_keys.authenticate(secret) for secret in secrets),
                *(recorder.record(UsageRecord(api_key_id=key.id)) for _ in range(5)),
            )
            async with db.recorder(folder / "other"):
                pass
        await recorder.flush()


def _check(seen: Sequence[DatabaseStats]) -> None:
    assert len({stats.api_key_cache.hits for stats in seen}) > 1
    assert max(len(stats.recorders) for stats in seen) > 0
    for earlier, later in pairwise(seen):
        for name in ("hits", "misses", "evictions"):
            assert getattr(earlier.api_key_cache, name) <= getattr(later.api_key_cache, name)
    journals = [each for stats in seen for each in stats.recorders]
    assert {each.dropped for each in journals} == {0}
    assert all(each.backlog_bytes >= 0 and each.shipped <= each.recorded for each in journals)


@pytest.fixture
def hurried_threads() -> Iterator[None]:
    """Threads take turns as often as Python can make them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hurried_threads")
async def test_another_thread_may_ask_meanwhile(make_database: MakeDatabase, tmp_path: Path) -> None:
    db = await make_database(api_key_cache_size=4)
    done = threading.Event()

    def watch() -> list[DatabaseStats]:
        seen = []
        while not done.is_set():
            seen.append(db.stats())
        return seen

    watching = asyncio.create_task(asyncio.to_thread(watch))
    await _work(db, tmp_path, 20)
    done.set()
    _check(await watching)


async def test_the_numbers_agree_wherever_another_thread_may_take_its_turn(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    db = await make_database(api_key_cache_size=4)
    seen: list[DatabaseStats] = []

    def ask(frame: FrameType, event: str, _: object) -> None:
        # Python changes threads at calls; here each call of ours is such a change.
        if "gatewaydb" in frame.f_code.co_filename:
            seen.append(db.stats())

    sys.setprofile(ask)
    try:
        await _work(db, tmp_path, 3)
    finally:
        sys.setprofile(None)
    _check(seen)
