"""The command `demo`: sets a database up, lets a gateway's day pass on it, and reports."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from gatewaydb import Database
from gatewaydb.cli.demo.gateway import Gateway
from gatewaydb.cli.demo.report import make_report, show_report
from gatewaydb.cli.demo.setup import issue_keys, load_models, make_house
from gatewaydb.cli.demo.traffic import Request, from_trace, made_up
from gatewaydb.cli.errors import CommandError, UsageError
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options, location
from gatewaydb.cli.output import note, plain, progress_bar, show_json
from gatewaydb.cli.traces import TraceRow, read_trace
from gatewaydb.cli.usage_files import opened_lines
from gatewaydb.cli.values import Whole

EXAMPLES = (
    "demo",
    "demo --requests 50000 --seed 7",
    "demo --trace AzureLLMInferenceTrace_code.csv",
    "demo --database postgresql://localhost/llmgateway",
)
_REQUESTS = 10_000
_REQUESTS_MAX = 1_000_000


async def demo(
    *,
    trace: str | None = None,
    requests: Whole | None = None,
    seed: Whole = 1,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Live a gateway's day: issue keys, load prices, authenticate, price and record thousands of requests, and report.

    It uses an SQLite database of its own, which is gone afterwards. With --database it works there, and what it makes
    stays: keys, aliases, a provider, usage.

    Parameters
    ----------
    trace
        Take times and token counts from this CSV file (TIMESTAMP,ContextTokens,GeneratedTokens).
    requests
        How many requests; 10000, or all of the trace, if not given.
    seed
        The same seed makes the same day.
    """
    if requests is not None and not 1 <= requests <= _REQUESTS_MAX:
        raise UsageError(f"--requests: must be from 1 to {_REQUESTS_MAX:,}")
    day = _day(trace, requests, seed)
    with _somewhere(options) as place:
        if options.database is not None:
            await Database(place.config).migrate()
        async with place.opened() as db:
            report = await _live(db, day, options)
    if options.json:
        show_json({"database": location(place.config), **plain(report)})
    else:
        show_report(report)
        kept = f"What it made stays in {location(place.config)}." if options.database else "The database is gone again."
        note(f"{kept} See: gatewaydb --help")


async def _live(db: Database, day: list[Request], options: Options) -> dict[str, object]:
    _tell(options, f"A gateway's day on {'SQLite' if db.config.is_sqlite else 'PostgreSQL'}")
    began = time.perf_counter()
    loaded = await load_models(db)
    _tell(options, f"  loaded {loaded} in {time.perf_counter() - began:.1f} s")
    await make_house(db)
    issued = await issue_keys(db)
    _tell(options, f"  issued {len(issued.keys)} API keys: {', '.join(issued.keys)}")
    gateway = Gateway(db, issued.secrets)
    with progress_bar("Serving requests") as progress:
        seconds = await gateway.serve(day, progress)
    return await make_report(db, gateway, issued.keys, day, seconds)


def _day(trace: str | None, count: int | None, seed: int) -> list[Request]:
    if trace is None:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return made_up(count or _REQUESTS, seed, midnight - timedelta(days=1))
    with opened_lines(trace) as lines:
        good = (row for row in read_trace(lines, trace) if isinstance(row, TraceRow))
        rows = sorted(islice(good, count or _REQUESTS_MAX), key=lambda row: row.at)
    if not rows:
        raise CommandError(f"{trace}: holds no requests")
    return from_trace(rows, seed)


@contextmanager
def _somewhere(options: Options) -> Iterator[Options]:
    """The database that is asked for, or one in a folder that goes away."""
    if options.database is not None:
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="gatewaydb-demo-") as folder:
        path = Path(folder) / "gateway.db"
        path.touch()
        yield replace(options, database=f"sqlite:///{quote(str(path))}")


def _tell(options: Options, text: str) -> None:
    if not options.json:
        note(text)
