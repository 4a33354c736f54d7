"""`gatewaydb usage` and `gatewaydb summaries`."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Run

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROWS = 2_500
TRACE = HEADER + "".join(
    f"2023-11-16 18:{n // 60 % 60:02}:{n % 60:02}.9799600,{n % 97 + 1},{n % 7}\n" for n in range(ROWS)
)


@pytest.fixture
def loaded(gatewaydb: Run, prices: Path, tmp_path: Path) -> Run:
    """With the models of the small price file, a key, and a trace in trace.csv."""
    gatewaydb("models", "import", str(prices))
    gatewaydb("keys", "create", "production")
    (tmp_path / "trace.csv").write_text(TRACE, encoding="utf-8")
    return gatewaydb


def import_trace(
    run: Run, file: str = "trace.csv", key: str = "production", model: str = "gpt-4o", **more: str
) -> dict[str, Any]:
    ran = run("usage", "import", file, "--api-key", key, "--model", model, "--json", **more)
    report: dict[str, Any] = json.loads(ran.out)
    assert ran.code == (1 if report["bad"] else 0)
    return report


def test_a_trace_is_recorded_and_priced(loaded: Run) -> None:
    report = import_trace(loaded)
    prompt = sum(n % 97 + 1 for n in range(ROWS))
    completion = sum(n % 7 for n in range(ROWS))
    cost = prompt * Decimal("2.5e-06") + completion * Decimal("1e-05")
    assert (report["rows"], report["inserted"], report["already_there"], report["bad"]) == (ROWS, ROWS, 0, 0)
    assert (report["prompt_tokens"], report["completion_tokens"]) == (prompt, completion)
    assert Decimal(report["cost_usd"]) == cost
    [totals] = loaded("usage", "totals", "--json").json
    assert (totals["api_key_name"], totals["model_name"], totals["requests"]) == ("production", "gpt-4o", ROWS)
    assert (totals["prompt_tokens"], Decimal(totals["cost_usd"])) == (prompt, cost)
    [summary] = loaded("summaries", "show", "production", "--json").json
    assert (summary["year"], summary["month"], summary["total_requests"]) == (2023, 11, ROWS)
    assert Decimal(summary["total_cost_usd"]) == cost


def test_importing_a_file_twice_counts_once(loaded: Run, tmp_path: Path) -> None:
    import_trace(loaded)
    (tmp_path / "renamed.csv").write_text(TRACE.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    again = import_trace(loaded, "renamed.csv")
    assert (again["rows"], again["inserted"], again["already_there"]) == (ROWS, 0, ROWS)
    assert loaded("usage", "totals", "--json").json[0]["requests"] == ROWS


def test_a_file_that_grew_adds_what_is_new(loaded: Run, tmp_path: Path) -> None:
    import_trace(loaded)
    (tmp_path / "trace.csv").write_text(TRACE + "2023-11-17 00:00:00,5,5\n", encoding="utf-8")
    assert import_trace(loaded)["inserted"] == 1


def test_equal_rows_of_one_file_are_different_requests(loaded: Run, tmp_path: Path) -> None:
    (tmp_path / "equal.csv").write_text(HEADER + "2023-11-17 00:00:00,5,5\n" * 3, encoding="utf-8")
    assert import_trace(loaded, "equal.csv")["inserted"] == 3


def test_another_key_or_model_counts_on_its_own(loaded: Run) -> None:
    import_trace(loaded)
    assert import_trace(loaded, model="claude-sonnet-5")["inserted"] == ROWS
    loaded("keys", "create", "staging")
    assert import_trace(loaded, key="staging")["inserted"] == ROWS
    totals = loaded("usage", "totals", "--json").json
    assert [(row["api_key_name"], row["model_name"]) for row in totals] == [
        ("production", "claude-sonnet-5"),
        *sorted(
            [("production", "gpt-4o"), ("staging", "gpt-4o")],
            key=lambda pair: [row["api_key_name"] for row in totals].index(pair[0]),
        ),
    ]
    only = loaded("usage", "totals", "--api-key", "staging", "--json").json
    assert [row["api_key_name"] for row in only] == ["staging"]
    assert "claude-sonnet-5" in loaded("usage", "totals").out


def test_a_trace_comes_from_a_pipe_too(loaded: Run) -> None:
    assert import_trace(loaded, "-", stdin=TRACE)["inserted"] == ROWS
    assert import_trace(loaded)["inserted"] == 0


def test_unpriced_usage_is_recorded_as_such(loaded: Run) -> None:
    report = import_trace(loaded, model="house-llama")
    assert report["unpriced"] > 2_000
    assert loaded("usage", "list", "--model", "house-llama", "--limit", "1", "--json").json[0]["cost_usd"] is None
    assert "unpriced" in loaded("usage", "list", "--model", "house-llama", "--limit", "1").out


def test_bad_lines_are_left_out_and_named(loaded: Run, tmp_path: Path) -> None:
    bad = HEADER + "2023-11-16 18:00:00,1,1\nnonsense\n2023-11-16 18:00:01,-1,1\n\n2023-11-16 18:00:02,2,2\nsoon,1,1\n"
    (tmp_path / "bad.csv").write_text(bad, encoding="utf-8")
    report = import_trace(loaded, "bad.csv")
    assert (report["rows"], report["inserted"], report["bad"], report["is_complete"]) == (2, 2, 3, True)
    assert [line["line"] for line in report["bad_lines"]] == [3, 4, 7]
    said = loaded("usage", "import", "bad.csv", "--api-key", "production", "--model", "gpt-4o")
    assert said.code == 1
    assert "line 4: ContextTokens: '-1' is no number of tokens" in said.err


def test_a_cost_beyond_all_bounds_is_a_bad_line(loaded: Run, tmp_path: Path) -> None:
    (tmp_path / "huge.csv").write_text(f"{HEADER}2023-11-16 18:00:00,{2**53},1\n2023-11-16 18:00:00,1,1\n")
    report = import_trace(loaded, "huge.csv")
    assert (report["inserted"], report["bad_lines"][0]["line"]) == (1, 2)


def test_an_import_stops_at_the_hundredth_bad_line(loaded: Run, tmp_path: Path) -> None:
    (tmp_path / "worse.csv").write_text(
        HEADER + "2023-11-16 18:00:00,1,1\n" + "x,y,z\n" * 500 + TRACE, encoding="utf-8"
    )
    report = import_trace(loaded, "worse.csv")
    assert (report["bad"], report["inserted"], report["is_complete"]) == (100, 1, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("\n", "no column"),
        ("a,b,c\n1,2,3\n", "nor TIMESTAMP, as a trace"),
        ("\0" * 200_000, "bad.csv"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(loaded: Run, tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "bad.csv").write_text(content, encoding="utf-8")
    refused = loaded("usage", "import", "bad.csv", "--api-key", "production", "--model", "gpt-4o")
    assert refused.code in (1, 2)
    assert said in refused.err
    assert loaded("usage", "totals", "--json").json == []


def test_list_is_by_key_or_by_model_and_paged(loaded: Run) -> None:
    import_trace(loaded)
    latest = loaded("usage", "list", "--api-key", "production", "--limit", "3", "--json").json
    times = [record["request_timestamp"] for record in latest]
    assert times == sorted(times, reverse=True)
    page = ("--model", "gpt-4o", "--limit", "2")
    by_offset = loaded("usage", "list", *page, "--offset", "1", "--json").json
    by_cursor = loaded("usage", "list", *page, "--after", latest[0]["id"], "--json").json
    assert by_offset == by_cursor == latest[1:]
    assert loaded("usage", "list").code == 2
    assert loaded("usage", "list", *page, "--api-key", "production").code == 2
    assert loaded("usage", "list", *page, "--after", "x").code == 2


def test_ranges_are_from_since_to_before_until(loaded: Run) -> None:
    import_trace(loaded)
    ranged = ("--since", "2023-11-16T18:00:10Z", "--until", "2023-11-16T18:00:11Z", "--json")
    assert loaded("usage", "totals", *ranged).json[0]["requests"] == 1
    assert len(loaded("usage", "list", "--api-key", "production", *ranged).json) == 1
    assert loaded("usage", "totals", "--since", "1h", "--json").json == []
    assert loaded("usage", "totals", "--since", "2024-01-01", "--until", "2023-01-01").code == 2


def test_usage_outlives_its_key(loaded: Run) -> None:
    import_trace(loaded)
    [totals] = loaded("usage", "totals", "--json").json
    loaded("keys", "delete", "production", "--yes")
    assert len(loaded("usage", "list", "--api-key", totals["api_key_id"], "--json").json) == 50
    assert loaded("summaries", "show", totals["api_key_id"], "--json").json[0]["total_requests"] == ROWS
    assert totals["api_key_id"] in loaded("usage", "totals").out


def test_summaries_are_shown_by_month_and_summed_anew(loaded: Run) -> None:
    import_trace(loaded)
    shown = loaded("summaries", "show", "production", "--month", "2023-11", "--json").json
    fresh = loaded("summaries", "refresh", "production", "--month", "2023-11", "--json").json
    for summary in (shown[0], fresh[0]):
        del summary["updated_at"]
    assert shown == fresh
    assert "2023-11" in loaded("summaries", "show", "production").out
    assert loaded("summaries", "refresh", "production").code == 0
    assert loaded("summaries", "show", "production", "--month", "2020-01").code == 1
    assert loaded("summaries", "show", "production", "--month", "2023-13").code == 2
