"""What came out, as a table for people and as JSON for programs."""

import os
import platform
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Row

FILE_WIDTH = 140
VERDICTS = {None: "", True: "[green]met[/]", False: "[red]missed[/]"}


class Report(msgspec.Struct, frozen=True):
    """One run, and what it ran on."""

    machine: dict[str, str]
    rows: Sequence[Row]


def machine(databases: dict[str, str]) -> dict[str, str]:
    """The versions and the size of what the figures are of."""
    return {
        "Python": platform.python_version(),
        **databases,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }


def write_json(report: Report, path: Path) -> None:
    """The whole report, for a later run to be compared with."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def show(report: Report) -> None:
    """The table, and how many goals are met."""
    table = Table(box=SIMPLE, title="Medians, with quartiles", caption=", ".join(map(" ".join, report.machine.items())))
    table.add_column("measured")
    table.add_column("on", no_wrap=True)
    for heading in ("median", "quartiles", "goal", "", "figures"):
        table.add_column(heading, justify="right", no_wrap=True)
    for benchmark, rows in groupby(report.rows, key=lambda row: row.benchmark):
        table.add_section()
        for row in rows:
            against = f" : {row.against}" if row.against else ""
            table.add_row(f"{benchmark}: {row.subject}{against}", row.on, *_numbers(row))
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(table)
    verdicts = [row.is_met for row in report.rows if row.is_met is not None]
    console.print(f"{sum(verdicts)} of {len(verdicts)} goals met")


def _numbers(row: Row) -> tuple[str, ...]:
    goal = f"{row.goal.bound} {_short(row.goal.limit)}" if row.goal else ""
    spread = f"{_short(row.low)} - {_short(row.high)}" if row.low != row.high else ""
    return f"{_short(row.value)} {row.unit}", spread, goal, VERDICTS[row.is_met], row.figures


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
