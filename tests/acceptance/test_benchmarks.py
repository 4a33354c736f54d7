"""The benchmarks run. What they measure they claim themselves, on a quiet machine: no figure is tested here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def quick_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    report = tmp_path_factory.mktemp("benchmarks") / "report.json"
    done = run_benchmarks("--quick", "--json", str(report))
    assert done.returncode == 0, done.stderr
    assert "goals met" in done.stdout
    rows: list[dict[str, Any]] = json.loads(report.read_text())["rows"]
    return rows


def test_every_benchmark_gives_figures_and_verdicts(quick_rows: list[dict[str, Any]]) -> None:
    assert {row["benchmark"] for row in quick_rows} == {
        "hits",
        "misses",
        "memory",
        "sqlite",
        "eviction",
        "hit rates",
        "costs",
        "catalog",
        "usage",
        "bulk",
        "journal",
        "transfer",
        "reports",
        "coherence",
    }
    assert all(0 < row["low"] <= row["value"] <= row["high"] for row in quick_rows)


def test_a_verdict_is_what_its_goal_says(quick_rows: list[dict[str, Any]]) -> None:
    held = [row for row in quick_rows if row["goal"]]
    assert held
    for row in held:
        bound, limit = row["goal"]["bound"], row["goal"]["limit"]
        assert row["is_met"] == (row["value"] <= limit if bound == "<=" else row["value"] >= limit)


def test_only_what_was_named_is_measured(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run_benchmarks("--quick", "--only", "costs", "--json", str(report))
    assert {row["benchmark"] for row in json.loads(report.read_text())["rows"]} == {"costs"}


def test_an_unknown_benchmark_is_named_with_those_that_there_are() -> None:
    done = run_benchmarks("--only", "coffee")
    assert done.returncode == 2
    assert "no benchmark is named coffee" in done.stderr
    assert "hits, misses, memory, sqlite" in done.stderr
