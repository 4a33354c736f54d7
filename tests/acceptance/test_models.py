"""`gatewaydb models`."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.acceptance.conftest import PRICES, Run


@pytest.fixture
def loaded(gatewaydb: Run, prices: Path) -> Run:
    """With the models of the small price file."""
    assert gatewaydb("models", "import", str(prices)).code == 0
    return gatewaydb


def test_import_reports_what_it_did(gatewaydb: Run, prices: Path) -> None:
    first = gatewaydb("models", "import", str(prices), "--json").json
    assert (first["added"], first["changed"], first["unchanged"], first["skipped"]) == (4, 0, 0, 1)
    assert first["skipped_models"][0]["name"] == "broken"
    changed = {**PRICES, "gpt-4o": {**PRICES["gpt-4o"], "input_cost_per_token": 9e-06}}
    prices.write_text(json.dumps(changed), encoding="utf-8")
    second = gatewaydb("models", "import", str(prices))
    assert "changed gpt-4o" in second.out
    assert "skipped broken: " in second.out
    third = gatewaydb("models", "import", str(prices), "--json").json
    assert (third["added"], third["changed"], third["unchanged"]) == (0, 0, 4)


def test_a_price_that_is_none_refuses_the_file_and_nothing_is_written(gatewaydb: Run, prices: Path) -> None:
    prices.write_text(json.dumps({**PRICES, "bad": {"input_cost_per_token": -1}}), encoding="utf-8")
    refused = gatewaydb("models", "import", str(prices))
    assert refused.code != 0
    assert "the entry 'bad' is refused, and the file with it: input_cost_per_token" in refused.err
    assert gatewaydb("models", "list", "--json").json == []
    skipping = gatewaydb("models", "import", str(prices), "--skip-invalid", "--json").json
    assert (skipping["added"], skipping["skipped"]) == (4, 2)


def test_the_bundled_catalog_loads(gatewaydb: Run) -> None:
    report = gatewaydb("models", "import", "--json").json
    assert report["added"] > 4_000
    assert "MIT" in report["source"]
    assert (
        gatewaydb("models", "search", "cluade sonet", "--limit", "1", "--json").json[0]["name"].startswith("claude-s")
    )


@pytest.mark.parametrize("content", [None, "", "not json", "[]"])
def test_a_file_that_is_none_changes_nothing(on_sqlite: Run, tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    refused = on_sqlite("models", "import", str(path))
    assert refused.code in (1, 2)
    assert "file.json" in refused.err
    assert on_sqlite("models", "list", "--json").json == []


def test_search_bears_typing_errors(loaded: Run) -> None:
    assert [model["name"] for model in loaded("models", "search", "cluade sonet", "--json").json] == ["claude-sonnet-5"]
    assert "claude-sonnet-5" in loaded("models", "search", "cluade sonet").out
    assert len(loaded("models", "search", "gpt", "--limit", "1", "--json").json) == 1
    nothing = loaded("models", "search", "zzzzzz")
    assert (nothing.code, nothing.out) == (0, "")


def test_list_by_provider_and_by_page(loaded: Run) -> None:
    names = [model["name"] for model in loaded("models", "list", "--json").json]
    assert names == sorted(PRICES.keys() - {"broken"})
    openai = loaded("models", "list", "--provider", "openai", "--json").json
    assert [model["name"] for model in openai] == ["gpt-4o", "gpt-4o-mini"]
    after = loaded("models", "list", "--after", "gpt-4o", "--json").json
    assert [model["name"] for model in after] == ["gpt-4o-mini", "house-llama"]
    assert "gpt-4o-mini" in loaded("models", "list").out


def test_show_names_every_price_exactly(loaded: Run) -> None:
    shown = loaded("models", "show", "gpt-4o", "--json").json
    found = {price["source_field"]: Decimal(price["price"]) for price in shown["prices"]}
    assert found == {field: Decimal(str(value)) for field, value in PRICES["gpt-4o"].items() if "cost" in field}
    assert all(isinstance(price["price"], str) for price in shown["prices"])
    text = loaded("models", "show", "gpt-4o").out
    assert "2.5 USD / 1M token" in text
    assert "vision" in text
    assert "no price" in loaded("models", "show", "house-llama").out


def test_a_model_is_named_by_id_or_alias_too(loaded: Run) -> None:
    model_id = loaded("models", "show", "gpt-4o", "--json").json["id"]
    loaded("aliases", "create", "smart", "gpt-4o")
    assert loaded("models", "show", "smart", "--json").json["id"] == model_id
    assert loaded("models", "show", model_id, "--json").json["name"] == "gpt-4o"
    refused = loaded("models", "show", "gtp-4o")
    assert (refused.code, "did you mean 'gpt-4o'" in refused.err) == (1, True)


def test_cost_is_exact_and_names_its_lines(loaded: Run) -> None:
    counts = ("--input", "1000", "--output", "500", "--cache-read", "400")
    cost = loaded("models", "cost", "gpt-4o", *counts, "--json").json
    assert Decimal(cost["cost_usd"]) == Decimal("0.007")
    amounts = {line["item"]: Decimal(line["amount"]) for line in cost["lines"]}
    assert amounts == {
        "text_input_tokens": Decimal("0.0015"),
        "cache_read_tokens": Decimal("0.0005"),
        "text_output_tokens": Decimal("0.005"),
    }
    assert loaded("models", "cost", "gpt-4o", *counts).out == "$0.007\n"
    assert "cache_read_input_token_cost" in loaded("models", "cost", "gpt-4o", *counts, "--explain").out


def test_what_is_unpriced_is_said_and_is_not_free(loaded: Run) -> None:
    said = loaded("models", "cost", "house-llama", "--input", "10")
    assert said.code == 1
    assert "no price for text_input_tokens" in said.out
    unpriced = json.loads(loaded("models", "cost", "house-llama", "--input", "10", "--json").out)
    assert (unpriced["cost_usd"], unpriced["unpriced"]) == (None, ["text_input_tokens"])


def test_impossible_counts_are_refused(on_sqlite: Run, prices: Path) -> None:
    on_sqlite("models", "import", str(prices))
    for counts in (("--input", "-1"), ("--input", "1.5"), ("--input", "10", "--cache-read", "11"), ("--at", "soon")):
        assert on_sqlite("models", "cost", "gpt-4o", *counts).code == 2
