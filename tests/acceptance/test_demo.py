"""`gatewaydb demo`."""

import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from tests.acceptance.conftest import Run


def test_a_day_ends_with_a_report_that_adds_up(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    report = run("demo", "--requests", "3000", "--json").json
    assert report["requests"] == 3000 == report["recorded"] + sum(report["refused"].values())
    assert report["summaries_agree"] is True
    for part in ("by_key", "by_model", "by_time"):
        assert sum(Decimal(group["cost_usd"]) for group in report[part]) == Decimal(report["cost_usd"]) > 0
    assert sum(group["requests"] for group in report["by_key"]) == report["recorded"]
    assert set(report["refused"]) >= {
        "unknown secret",
        "key disabled",
        "key expired",
        "model not allowed",
        "unknown model",
    }
    assert 0 < report["unpriced_requests"] == sum(group["unpriced_requests"] for group in report["by_key"])
    [house] = [group for group in report["by_model"] if group["unpriced_requests"]]
    assert (house["name"], house["unpriced_requests"]) == ("house-llama", house["requests"])
    assert report["api_key_cache"]["hit_rate"] > 0.9
    assert list(tmp_path.iterdir()) == []


def test_the_report_is_readable(run: Run) -> None:
    shown = run("demo", "--requests", "500")
    assert shown.code == 0
    for text in ("Spend by API key", "production", "gpt-4o-mini", "Spend by time", "Refused", "API key cache", "agree"):
        assert text in shown.out
    assert "sk-" not in shown.out + shown.err


def test_a_given_database_keeps_the_day(gatewaydb: Run, database_url: str) -> None:
    demo = ("demo", "--requests", "400", "--database", database_url, "--json")
    days = [gatewaydb(*demo).json for _ in range(2)]
    assert all(day["summaries_agree"] for day in days)
    totals = gatewaydb("usage", "totals", "--limit", "1000", "--json").json
    assert sum(row["requests"] for row in totals) == sum(day["recorded"] for day in days)


def test_a_trace_gives_times_and_tokens(run: Run, tmp_path: Path) -> None:
    rows = "".join(f"2023-11-16 18:{minute:02}:00.1234567,{minute + 100},{minute}\n" for minute in range(60))
    (tmp_path / "trace.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}", encoding="utf-8")
    report = run("demo", "--trace", "trace.csv", "--json").json
    assert report["requests"] == 60
    assert report["start"] == "2023-11-16T18:00:00.123456Z"
    assert run("demo", "--trace", "trace.csv", "--requests", "10", "--json").json["requests"] == 10


def test_impossible_days_are_refused(run: Run, tmp_path: Path) -> None:
    assert run("demo", "--requests", "0").code == 2
    assert run("demo", "--trace", "missing.csv").code == 1
    (tmp_path / "empty.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n", encoding="utf-8")
    assert run("demo", "--trace", "empty.csv").code == 1
