"""`gatewaydb usage report`."""

import csv
import io
import json
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from gatewaydb import Database, UsageRecord
from tests.acceptance.conftest import Run

NAMES = ("production", "<script>alert(1)</script>", '=HYPERLINK("http://evil")')
COSTS = (Decimal("3"), Decimal("0.000000000001"), Decimal("2.5"))
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
async def used(gatewaydb: Run, database_url: str) -> Run:
    """Three keys with awkward names, used today, yesterday and long ago."""
    async with Database(database_url) as db:
        for number, (name, cost) in enumerate(zip(NAMES, COSTS, strict=True)):
            tags = {"tag": {"environment": "production"}} if number else {}
            key, _ = await db.api_keys.issue(name, metadata=tags)
            for days, status in ((0, 200), (1, 429), (400, 500)):
                record = UsageRecord(
                    api_key_id=key.id,
                    model_name=f"model {number}",
                    request_timestamp=TODAY - timedelta(days=days),
                    prompt_tokens=10,
                    completion_tokens=5,
                    status_code=status,
                    cost_usd=cost if days else None,
                )
                await db.usage.create(record)
    return gatewaydb


def _csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_table_is_dearest_first_with_the_sum_of_all(used: Run) -> None:
    lines = [line for line in used("usage", "report").out.splitlines() if "$" in line]
    assert [line.split()[0] for line in lines] == ["production", NAMES[2], NAMES[1], "all"]
    assert "$5.5000" in lines[-1]
    first = used("usage", "report", "--limit", "1")
    assert "--limit 3" in first.err
    assert "$5.5000" not in first.out
    assert "█" in used("usage", "report", "--chart").out


@pytest.mark.parametrize("by", ["key", "model", "provider", "day", "tag", "endpoint", "status"])
def test_every_report_sums_to_the_same(used: Run, by: str) -> None:
    report = used("usage", "report", "--by", by, "--json").json
    assert report["by"] == by
    assert (report["total"]["requests"], report["total"]["client_errors"]) == (6, 3)
    assert sum(Decimal(row["cost_usd"]) for row in report["rows"]) == sum(COSTS)
    assert used("usage", "report", "--by", by, "--chart").code == 0


def test_a_range_a_key_and_a_model_are_asked_for(used: Run) -> None:
    def requests(*asked: str) -> int:
        total: int = used("usage", "report", *asked, "--json").json["total"]["requests"]
        return total

    assert requests("--since", "500d") == 9
    assert requests("--since", "500d", "--until", "10d") == 3
    assert requests("--since", f"{TODAY:%Y-%m-%d}") == 3
    assert requests("--api-key", "production") == 2
    assert requests("--model", "model 1") == 2
    assert requests("--by", "tag", "--tag-type", "owner") == 6
    assert "no usage" in used("usage", "report", "--model", "no such").err


def test_csv_is_exact_and_no_formula(used: Run, tmp_path: Path) -> None:
    out = used("usage", "report", "--format", "csv").out
    rows = _csv(out)
    assert [row["label"] for row in rows] == ["production", f"'{NAMES[2]}", NAMES[1]]
    assert rows[2]["cost_usd"] == "0.000000000001"
    assert rows[0]["unpriced_requests"] == "1"
    used("usage", "report", "--output", "report.csv")
    assert (tmp_path / "report.csv").read_bytes().decode() == out.replace("\r\n", "\n").replace("\n", "\r\n")


def test_json_lines_are_the_rows_of_the_json(used: Run) -> None:
    lines = [json.loads(line) for line in used("usage", "report", "--format", "jsonl").out.splitlines()]
    assert lines == used("usage", "report", "--format", "json").json["rows"]


def test_parquet_has_money_as_decimals(used: Run, tmp_path: Path) -> None:
    assert used("usage", "report", "--by", "day", "--output", "report.parquet").code == 0
    table: Any = parquet.read_table(tmp_path / "report.parquet")
    assert table.schema.field("cost_usd").type == pyarrow.decimal128(38, 12)
    assert table.schema.field("last_request_at").type == pyarrow.timestamp("us", tz="UTC")
    assert sum(table["cost_usd"].to_pylist()) == sum(COSTS)
    assert table["day"].to_pylist() == [TODAY.date() - timedelta(days=1), TODAY.date()]


def test_without_pyarrow_it_says_what_to_install(used: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = used("usage", "report", "--output", "report.parquet")
    assert (refused.code, "pip install 'gatewaydb[parquet]'" in refused.err) == (1, True)
    assert list(tmp_path.glob("*report*")) == []


@pytest.mark.parametrize("by", ["key", "model", "day", "tag"])
def test_the_page_is_whole_and_holds_no_script(used: Run, tmp_path: Path, by: str) -> None:
    assert used("usage", "report", "--by", by, "--output", "report.html").code == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Elements()
    found.feed(text)
    assert found.open == []
    assert {"svg", "table", "style"} <= found.tags
    assert not found.tags & {"script", "img", "link", "iframe", "a"}
    assert not [name for name in found.attributes if name.startswith("on") or name in ("src", "href")]
    assert "url(" not in text
    assert "$5.50" in text
    assert (by != "key") or NAMES[1] in found.text


class Elements(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "wrong",
    [
        ("--by", "weekday"),
        ("--format", "xml"),
        ("--format", "parquet"),
        ("--output", "report.txt"),
        ("--json", "--format", "csv"),
        ("--chart", "--format", "html"),
        ("--since", "soon"),
        ("--since", "1d", "--until", "2d"),
        ("--limit", "0"),
    ],
)
def test_what_does_not_go_together_is_refused(on_sqlite: Run, wrong: tuple[str, ...]) -> None:
    assert on_sqlite("usage", "report", *wrong).code == 2


def test_a_file_that_cannot_be_written_is_one_line(on_sqlite: Run) -> None:
    refused = on_sqlite("usage", "report", "--output", "no/such/folder/report.csv")
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)


def test_no_usage_is_a_page_and_a_table_too(on_sqlite: Run) -> None:
    assert "No usage" in on_sqlite("usage", "report", "--format", "html").out
    assert _csv(on_sqlite("usage", "report", "--format", "csv").out) == []
    assert "no usage" in on_sqlite("usage", "report", "--chart").err
