"""`python -m benchmarks`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from benchmarks import bulk, catalog, costs, eviction, hits, journal, memory, sqlite_reads, usage
from benchmarks.databases import Bench
from benchmarks.harness import QUICK, Row, Sizes
from benchmarks.report import Report, machine, show, write_json

BENCHMARKS: dict[str, Callable[[Bench], list[Row]]] = {
    "hits": hits.measure,
    "memory": memory.measure,
    "sqlite": sqlite_reads.measure,
    "eviction": eviction.measure,
    "costs": costs.measure,
    "catalog": catalog.measure,
    "usage": usage.measure,
    "bulk": bulk.measure,
    "journal": journal.measure,
}

app = App(name="python -m benchmarks", help="Measure the goals of docs/performance.md.", help_format="plaintext")


@app.default
def run(
    *,
    quick: Annotated[bool, Parameter(negative=())] = False,
    only: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    json: Path | None = None,
) -> int:
    """Run the benchmarks and show a table.

    Parameters
    ----------
    quick
        Tiny sizes, to see that everything runs: the figures mean nothing.
    only
        Only these benchmarks: hits, memory, sqlite, eviction, costs, catalog, usage, bulk, journal.
    json
        Also write the rows to this file.
    """
    unknown = set(only) - BENCHMARKS.keys()
    if unknown:
        print(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    report = _measure(QUICK if quick else Sizes(), [name for name in BENCHMARKS if name in only or not only])
    show(report)
    if json is not None:
        write_json(report, json)
    return 0


def _measure(sizes: Sizes, names: list[str]) -> Report:
    progress = Console(stderr=True)
    rows: list[Row] = []
    with Bench(sizes) as bench:
        for name in names:
            progress.print(f"measuring {name} ...", style="dim")
            rows += BENCHMARKS[name](bench)
        return Report(machine(bench.versions()), rows)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
