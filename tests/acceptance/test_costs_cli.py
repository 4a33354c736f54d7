"""Costs on the command line: what a request costs, what a record cost, and what is unpriced."""

import asyncio
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gatewaydb import Database, UsageRecord
from gatewaydb.entities.base import new_id
from tests.acceptance.conftest import Run

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-11-16 18:00:00,1000,100\n2026-11-16 18:00:01,2000,0\n"
SINCE = ("--since", "2026-11-01", "--until", "2026-12-01")


@pytest.fixture
def loaded(gatewaydb: Run, prices: Path) -> Run:
    """With the models of the small price file."""
    assert gatewaydb("models", "import", str(prices)).code == 0
    return gatewaydb


@pytest.fixture
def loaded_on_sqlite(on_sqlite: Run, prices: Path) -> Run:
    """As `loaded`, for what no engine has a part in."""
    assert on_sqlite("models", "import", str(prices)).code == 0
    return on_sqlite


@pytest.fixture
def used(loaded: Run, tmp_path: Path) -> Run:
    """With two requests to a model without a price."""
    (tmp_path / "trace.csv").write_text(TRACE, encoding="utf-8")
    loaded("keys", "create", "production")
    loaded("usage", "import", "trace.csv", "--api-key", "production", "--model", "house-llama")
    return loaded


def cost(run: Run, *arguments: str) -> Decimal:
    return Decimal(run("models", "cost", *arguments, "--json").json["cost_usd"])


def record_ids(run: Run, model: str) -> list[str]:
    return [record["id"] for record in run("usage", "list", "--model", model, "--json").json]


def test_a_cost_depends_on_tier_batch_and_time(loaded_on_sqlite: Run) -> None:
    flex, batch = "input_cost_per_token_flex=0.000001", "input_cost_per_token_batches=0.00000125"
    loaded_on_sqlite("models", "set-price", "gpt-4o", flex, batch, "input=4/M")
    counts = ("gpt-4o", "--input", "1000")
    assert cost(loaded_on_sqlite, *counts) == Decimal("0.004")
    assert cost(loaded_on_sqlite, *counts, "--tier", "flex") == Decimal("0.001")
    assert cost(loaded_on_sqlite, *counts, "--batch") == Decimal("0.00125")
    for then in ("2026-01-01", "2026-01-01T12:00Z", "300d"):
        assert cost(loaded_on_sqlite, *counts, "--at", then) == Decimal("0.0025")
    assert loaded_on_sqlite("models", "cost", *counts, "--at", "soon").code == 2


def test_an_explanation_says_why(loaded_on_sqlite: Run) -> None:
    counts = ("gpt-4o", "--input", "1000", "--cache-write", "100", "--cache-write-1h", "100", "--tier", "flex")
    explained = loaded_on_sqlite("models", "cost", *counts, "--json").json
    lines = {line["item"]: line for line in explained["lines"]}
    written = lines["cache_write_1h_tokens"]
    assert (written["count"], written["rate"], written["fallback"]) == (100, "0.0000025", True)
    assert Decimal(written["amount"]) == Decimal("0.00025")
    assert "there is none for flex" in written["assumed"]
    assert {"why", "origin", "version", "unit"} <= written.keys()
    text = loaded_on_sqlite("models", "cost", *counts, "--explain").out
    assert "as there is no price of its own" in " ".join(text.split())
    assert "Assumed: the standard price, as there is none for flex." in text
    assert "cache_write_1h_tokens" not in loaded_on_sqlite("models", "cost", *counts).out


COUNTS = [
    ("input_cost_per_image=0.5", ("--input-images", "3"), "1.5"),
    ("output_cost_per_image=0.04", ("--images", "2"), "0.08"),
    ("input_cost_per_second=0.0001", ("--seconds", "1.5"), "0.00015"),
    ("input_cost_per_character=0.00001", ("--characters", "100"), "0.001"),
    ("ocr_cost_per_page=0.001", ("--pages", "7"), "0.007"),
    ("ocr_cost_per_credit=0.1", ("--credits", "0.5"), "0.05"),
    ("input_cost_per_query=0.002", ("--queries", "2"), "0.004"),
    ("input_cost_per_request=0.01", ("--requests", "1"), "0.01"),
    ("code_interpreter_cost_per_session=0.03", ("--tool-calls", "code_interpreter=2"), "0.06"),
    ("output_cost_per_video_per_second_1080p=0.7", ("--seconds", "2", "--resolution", "1080p"), "1.4"),
]


@pytest.mark.parametrize(("price", "counts", "expected"), COUNTS, ids=[price for price, _, _ in COUNTS])
def test_everything_that_is_billed_can_be_counted(
    on_sqlite: Run, price: str, counts: tuple[str, ...], expected: str
) -> None:
    on_sqlite("models", "create", "m", "--price", price)
    assert cost(on_sqlite, "m", *counts) == Decimal(expected)


def test_a_multiplier_follows_the_circumstances(on_sqlite: Run) -> None:
    uplift = "regional_processing_uplift_multiplier_eu=1.1"
    on_sqlite("models", "create", "m", "--price", "input_cost_per_token=0.001", uplift)
    assert cost(on_sqlite, "m", "--input", "1000") == 1
    assert cost(on_sqlite, "m", "--input", "1000", "--data-residency", "eu") == Decimal("1.1")


def test_impossible_circumstances_are_refused(loaded_on_sqlite: Run) -> None:
    for wrong in (("--tool-calls", "x"), ("--tool-calls", "x=-1"), ("--seconds", "NaN"), ("--max-results", "1.5")):
        assert loaded_on_sqlite("models", "cost", "gpt-4o", *wrong).code == 2


# What is unpriced, and pricing it later


def test_unpriced_usage_is_shown_apart_and_never_as_zero(used: Run) -> None:
    [totals] = used("usage", "totals", "--json").json
    [summary] = used("summaries", "show", "production", "--json").json
    assert totals["unpriced_requests"] == summary["unpriced_requests"] == 2
    for shown in (used("usage", "totals").out, used("summaries", "show", "production").out):
        assert re.search(r"2 +unpriced +2 ", shown)
        assert "$0" not in shown


def test_repricing_prices_what_was_unpriced_and_the_summaries(used: Run) -> None:
    used("models", "set-price", "house-llama", "input=1/M", "output=2/M")
    dry = used("usage", "reprice", *SINCE, "--dry-run", "--json").json
    assert (dry["seen"], dry["changed"], dry["still_unpriced"], dry["dry_run"]) == (2, 2, 0, True)
    assert used("usage", "totals", "--json").json[0]["unpriced_requests"] == 2
    done = used("usage", "reprice", *SINCE, "--model", "house-llama", "--json").json
    assert (done["changed"], done["cost_before"], Decimal(done["cost_after"])) == (2, "0", Decimal("0.0032"))
    [summary] = used("summaries", "show", "production", "--json").json
    assert (summary["unpriced_requests"], Decimal(summary["total_cost_usd"])) == (0, Decimal("0.0032"))
    assert used("usage", "reprice", *SINCE, "--json").json["seen"] == 0


def test_what_has_a_cost_is_priced_anew_on_purpose_only(used: Run) -> None:
    used("models", "set-price", "house-llama", "input=1/M", "output=2/M")
    used("usage", "reprice", *SINCE)
    refused = used("usage", "reprice", *SINCE, "--all")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert used("usage", "reprice", *SINCE, "--all", "--dry-run", "--json").json["seen"] == 2
    again = used("usage", "reprice", *SINCE, "--all", "--yes")
    assert re.search(r"seen +2 *\nchanged +0 ", again.out)


def test_repricing_says_what_stays_unpriced(used: Run) -> None:
    report = used("usage", "reprice", *SINCE, "--dry-run")
    assert re.search(r"still unpriced +2 ", report.out)
    assert "nothing was written" in report.err
    assert used("usage", "reprice", *SINCE, "--model", "gpt-4o", "--json").json["seen"] == 0
    for wrong in ((), ("--since", "soon"), ("--since", "2026-12-01", "--until", "2026-11-01")):
        assert used("usage", "reprice", *wrong).code == 2
    assert used("usage", "reprice", *SINCE, "--model", "nothing").code == 1


def test_a_stored_cost_is_explained_by_its_version(used: Run) -> None:
    used("usage", "import", "trace.csv", "--api-key", "production", "--model", "gpt-4o")
    used("models", "set-price", "gpt-4o", "input=99/M")
    latest, _ = record_ids(used, "gpt-4o")
    explained = used("usage", "explain", latest, "--json").json
    assert (explained["agrees"], explained["model"], explained["record"]["price_version"]) == (True, "gpt-4o", 1)
    assert Decimal(explained["cost"]["cost_usd"]) == Decimal("0.005") == Decimal(explained["record"]["cost_usd"])
    assert [line["version"] for line in explained["cost"]["lines"]] == [1]
    text = used("usage", "explain", latest)
    assert (text.code, "This is the cost that is stored." in text.out, "input_cost_per_token" in text.out) == (
        0,
        True,
        True,
    )


def test_an_unpriced_record_says_so(used: Run) -> None:
    record = record_ids(used, "house-llama")[0]
    assert "The record is unpriced, as its model has no price" in used("usage", "explain", record).out
    used("models", "set-price", "house-llama", "input=1/M", "output=2/M")
    priced = used("usage", "explain", record)
    assert (priced.code, "has a price by now" in priced.out) == (1, True)


def test_a_record_whose_model_is_gone_says_so(used: Run) -> None:
    record = record_ids(used, "house-llama")[0]
    used("models", "delete", "house-llama", "--yes")
    said = used("usage", "explain", record)
    assert (said.code, "the model house-llama is gone" in said.out.replace("The", "the")) == (1, True)
    explained = json.loads(used("usage", "explain", record, "--json").out)
    assert (explained["model"], explained["cost"], explained["agrees"]) == (None, None, None)


async def store(**fields: Any) -> str:
    """Records a request that another program has priced; gives its id."""
    async with Database() as db:
        record = UsageRecord(api_key_id=new_id(), prompt_tokens=1000, cost_usd=Decimal("0.1"), **fields)
        return str((await db.usage.create(record)).id)


def test_a_stored_cost_that_differs_is_said(loaded: Run) -> None:
    differing = asyncio.run(store(model_name="gpt-4o"))
    said = loaded("usage", "explain", differing)
    assert (said.code, "Stored is $0.10, which differs by $0.0975." in said.out) == (1, True)
    assert json.loads(loaded("usage", "explain", differing, "--json").out)["agrees"] is False
    without_price = loaded("usage", "explain", asyncio.run(store(model_name="house-llama")))
    assert (without_price.code, "leave something unpriced" in without_price.out) == (1, True)


def test_a_record_that_contradicts_itself_is_said_to(loaded: Run) -> None:
    for odd in ({"cached_tokens": 2000}, {"pricing_context": {"color": "blue"}}):
        said = loaded("usage", "explain", asyncio.run(store(model_name="gpt-4o", **odd)))
        assert (said.code, "cannot be calculated" in said.out) == (1, True)
    nameless = loaded("usage", "explain", asyncio.run(store()))
    assert (nameless.code, "The record names no model" in nameless.out) == (1, True)


def test_a_record_that_is_none_is_an_error(on_sqlite: Run) -> None:
    assert on_sqlite("usage", "explain", "x").code == 2
    assert on_sqlite("usage", "explain", "0" * 32).code == 1
