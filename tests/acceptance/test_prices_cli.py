"""Prices on the command line: importing with care, setting by hand, and the past."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import PRICES, Run


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


def write(prices: Path, **changed: Any) -> None:
    """The price file with these entries changed; None takes one away."""
    entries = {name: {**PRICES.get(name, {}), **(changed.get(name) or {})} for name in (*PRICES, *changed)}
    gone = [name for name, entry in changed.items() if entry is None]
    prices.write_text(
        json.dumps({name: entry for name, entry in entries.items() if name not in gone}), encoding="utf-8"
    )


def cost(run: Run, *arguments: str) -> Decimal:
    return Decimal(run("models", "cost", *arguments, "--json").json["cost_usd"])


# Importing with care


def test_a_diff_shows_what_would_change_and_writes_nothing(loaded: Run, prices: Path) -> None:
    before = loaded("models", "list", "--json").out
    sonnet = {"input_cost_per_token": 6e-06, "output_cost_per_token": 0}
    write(prices, **{"claude-sonnet-5": sonnet, "gpt-4o-mini": None, "new": {"input_cost_per_token": 1e-06}})
    diff = loaded("models", "import", str(prices), "--diff", "--json").json
    assert (diff["added_models"], diff["vanished_models"]) == (["new"], ["gpt-4o-mini"])
    assert (diff["added"], diff["changed"], diff["vanished"], diff["flagged"], diff["applied"]) == (1, 1, 1, 1, False)
    [changed] = diff["changed_models"]
    assert changed["name"] == "claude-sonnet-5"
    found = {price["field"]: (price["before"], price["after"], price["warning"]) for price in changed["prices"]}
    assert found == {
        "input_cost_per_token": ("0.000003", "0.000006", ""),
        "output_cost_per_token": ("0.000015", "0", "turns 0"),
    }
    assert {price["percent"] for price in changed["prices"]} == {"100.0", "-100.0"}
    assert loaded("models", "list", "--json").out == before


def test_apply_shows_the_diff_and_imports(loaded: Run, prices: Path) -> None:
    write(prices, **{"gpt-4o": {"input_cost_per_token": 3e-06}, "gpt-4o-mini": None})
    assert loaded("models", "import", str(prices), "--diff", "--apply", "--json").json["applied"] is True
    assert cost(loaded, "gpt-4o", "--input", "1000") == Decimal("0.003")
    assert loaded("models", "show", "gpt-4o-mini", "--json").json["vanished_at"] is not None
    again = loaded("models", "import", str(prices), "--diff", "--json").json
    assert (again["added"], again["changed"], again["vanished"], again["flagged"]) == (0, 0, 0, 0)


def test_a_diff_shows_what_is_suspicious_first(loaded_on_sqlite: Run, prices: Path) -> None:
    write(prices, **{"gpt-4o": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1e-04}, "gpt-4o-mini": None})
    shown = loaded_on_sqlite("models", "import", str(prices), "--diff")
    order = ["Look at these prices first", "10 / 1M   100 / 1M   +900.0 %", "gone gpt-4o-mini", "Prices up", "+20.0 %"]
    places = [shown.out.index(text) for text in order]
    assert places == sorted(places)
    assert (shown.code, "Nothing was written" in shown.err) == (0, True)
    applied = loaded_on_sqlite("models", "import", str(prices), "--diff", "--apply")
    assert re.search(r"^vanished +1 *$", applied.out, re.MULTILINE)


def test_a_long_diff_is_bounded_for_people_only(loaded_on_sqlite: Run, prices: Path) -> None:
    entries = {f"model-{n:02}": {"input_cost_per_token": n * 1e-06} for n in range(1, 31)}
    prices.write_text(json.dumps(entries), encoding="utf-8")
    loaded_on_sqlite("models", "import", str(prices))
    dearer = {name: {"input_cost_per_token": entry["input_cost_per_token"] + 1e-06} for name, entry in entries.items()}
    prices.write_text(json.dumps(dearer), encoding="utf-8")
    shown = loaded_on_sqlite("models", "import", str(prices), "--diff").out
    assert "... and 10 more prices; --json names all" in shown
    assert shown.index("model-01") < shown.index("model-02")
    assert "model-30" not in shown
    assert len(loaded_on_sqlite("models", "import", str(prices), "--diff", "--json").json["changed_models"]) == 30


def test_an_import_reports_what_vanished(loaded_on_sqlite: Run, prices: Path) -> None:
    write(prices, **{"gpt-4o-mini": None})
    assert "vanished gpt-4o-mini" in loaded_on_sqlite("models", "import", str(prices)).out
    assert "vanished" in loaded_on_sqlite("models", "show", "gpt-4o-mini").out
    assert loaded_on_sqlite("models", "import", str(prices), "--json").json["vanished"] == 0


# Models and prices of one's own


def test_a_custom_model_has_its_own_prices_and_survives_imports(gatewaydb: Run, prices: Path) -> None:
    made = gatewaydb(
        "models", "create", "gpt-4o", "--provider", "in-house", "--mode", "chat", "--max-input-tokens", "8192",
        "--price", "input_cost_per_token=0.000001", "--price", "output=2/M", "--json",
    ).json  # fmt: skip
    assert (made["origin"], made["litellm_provider"], made["mode"]) == ("custom", "in-house", "chat")
    assert (made["max_input_tokens"], made["price_version"]) == (8192, 1)
    report = gatewaydb("models", "import", str(prices), "--json").json
    assert [entry["name"] for entry in report["skipped_models"] if "custom" in entry["reason"]] == ["gpt-4o"]
    assert cost(gatewaydb, "gpt-4o", "--input", "1000", "--output", "500") == Decimal("0.002")
    assert gatewaydb("models", "create", "gpt-4o").code == 1


def test_a_model_belongs_to_a_provider_of_the_database(on_sqlite: Run) -> None:
    provider = on_sqlite("providers", "create", "house", stdin="secret").code
    assert provider == 0
    house = on_sqlite("providers", "show", "house", "--json").json["id"]
    assert on_sqlite("models", "create", "a", "--provider", "house", "--json").json["provider_id"] == house
    assert on_sqlite("models", "create", "b", "--provider", house, "--json").json["provider_id"] == house
    assert on_sqlite("models", "create", "c", "--provider", "0" * 32).code == 1


def test_a_deleted_model_is_gone_with_its_aliases(loaded: Run) -> None:
    loaded("aliases", "create", "fast", "gpt-4o-mini")
    refused = loaded("models", "delete", "fast")
    assert (refused.code, "its aliases fast" in refused.err) == (2, True)
    assert loaded("models", "delete", "fast", "--yes", "--json").json["name"] == "gpt-4o-mini"
    assert loaded("models", "show", "gpt-4o-mini").code == loaded("aliases", "show", "fast").code == 1
    assert "deleted the model 'gpt-4o'" in loaded("models", "delete", "gpt-4o", "--yes").out


def test_a_price_set_by_hand_holds_until_it_is_reset(loaded: Run, prices: Path) -> None:
    changed = loaded("models", "set-price", "gpt-4o", "input=5/M", "cache-write=1/M", "--json").json
    assert changed["price_version"] == 2
    assert [(price["field"], price["before"], price["after"]) for price in changed["changes"]] == [
        ("input_cost_per_token", "0.0000025", "0.000005"),
        ("cache_creation_input_token_cost", None, "0.000001"),
    ]
    write(prices, **{"gpt-4o": {"input_cost_per_token": 9e-06}})
    loaded("models", "import", str(prices))
    assert cost(loaded, "gpt-4o", "--input", "1000") == Decimal("0.005")
    origins = {
        price["source_field"]: price["origin"] for price in loaded("models", "show", "gpt-4o", "--json").json["prices"]
    }
    assert origins["input_cost_per_token"] == "operator"
    assert "cache_creation_input_token_cost" in loaded("models", "reset-price", "gpt-4o").out
    assert cost(loaded, "gpt-4o", "--input", "1000") == Decimal("0.009")
    nothing = loaded("models", "reset-price", "gpt-4o")
    assert (nothing.code, nothing.out, "nothing changed" in nothing.err) == (0, "", True)


def test_show_and_list_have_the_prices_in_force_only(loaded: Run) -> None:
    loaded("models", "set-price", "gpt-4o", "input=5/M")
    loaded("models", "set-price", "gpt-4o", "input=7/M")
    shown = loaded("models", "show", "gpt-4o", "--json").json
    assert [price["price"] for price in shown["prices"] if price["source_field"] == "input_cost_per_token"] == [
        "0.000007"
    ]
    assert (shown["price_version"], shown["origin"], shown["vanished_at"]) == (3, "catalog", None)
    text = loaded("models", "show", "gpt-4o").out
    assert re.search(r"price version +3", text)
    assert re.search(r"7 USD / 1M token .* by hand", text)
    assert "2.5 USD" not in text
    assert re.search(r"gpt-4o +openai +chat +7 ", loaded("models", "list").out)


@pytest.mark.parametrize(
    ("price", "said"),
    [
        ("input_cost_per_tokn=1", "did you mean input_cost_per_token"),
        ("inptu=1", "did you mean input"),
        ("max_tokens=5", "is no price field"),
        ("input=2.50", "input=2.50/M"),
        ("input=x/M", "'x/M' is no price"),
        ("input_cost_per_token=-1", "at least 0"),
        ("input_cost_per_token=NaN", "at least 0"),
        ("input_cost_per_token=1e999999", "below"),
        ("input=1e999999/M", "below"),
        ("input_cost_per_token", "is no price such as"),
        ("=1", "is no price such as"),
        ("tiered_pricing.0.input_cost_per_token=1", "is a table"),
    ],
)
def test_what_is_no_price_is_refused_and_changes_nothing(loaded_on_sqlite: Run, price: str, said: str) -> None:
    for command in (("set-price", "gpt-4o", "output=1/M", price), ("create", "new", "--price", price)):
        refused = loaded_on_sqlite("models", *command)
        assert (refused.code, said in refused.err) == (2, True), refused.err
    assert loaded_on_sqlite("models", "show", "gpt-4o", "--json").json["price_version"] == 1
    assert loaded_on_sqlite("models", "show", "new").code == 1


def test_prices_that_cannot_be_set_are_refused(loaded_on_sqlite: Run) -> None:
    assert (
        "is given twice" in loaded_on_sqlite("models", "set-price", "gpt-4o", "input=1/M", "input_cost_per_token=1").err
    )
    assert loaded_on_sqlite("models", "set-price", "gpt-4o").code == 2
    for command in (("set-price", "nothing", "input=1/M"), ("reset-price", "nothing"), ("history", "nothing")):
        assert loaded_on_sqlite("models", *command).code == 1


def test_a_price_in_a_table_by_its_name_is_set(loaded_on_sqlite: Run) -> None:
    field = "search_context_cost_per_query.search_context_size_low"
    loaded_on_sqlite("models", "set-price", "gpt-4o", f"{field}=0.03")
    asked = ("--web-searches", "2", "--search-context-size", "low")
    assert cost(loaded_on_sqlite, "gpt-4o", *asked) == Decimal("0.06")


def test_a_field_means_what_the_models_provider_means(on_sqlite: Run) -> None:
    price = ("--price", "input_cost_per_token_above_128k_tokens=0.000002", "--json")
    for provider, condition in (("xai", "input_tokens_ge"), ("openai", "input_tokens_gt")):
        [made] = on_sqlite("models", "create", provider, "--provider", provider, *price).json["prices"]
        assert made["condition"] == {condition: 128_000}


def test_names_from_a_file_steer_no_terminal(on_sqlite: Run, prices: Path) -> None:
    write(prices, **{"evil\x1b[2J": {"input_cost_per_token": 1e-06}, "also\x1b[2J": {"max_tokens": "many"}})
    for arguments in (
        ("import", str(prices), "--diff", "--apply"),
        ("history", "evil\x1b[2J"),
        ("cost", "evil\x1b[2J"),
    ):
        ran = on_sqlite("models", *arguments)
        assert (ran.code, "\x1b" in ran.out + ran.err) == (0, False)


def test_history_shows_every_price_by_version(loaded: Run, prices: Path) -> None:
    write(prices, **{"gpt-4o": {"input_cost_per_token": 3e-06, "cache_read_input_token_cost": None}})
    loaded("models", "import", str(prices))
    loaded("models", "set-price", "gpt-4o", "output=12/M")
    history = loaded("models", "history", "gpt-4o", "--json").json
    first, second, third = history["versions"]
    assert (history["price_version"], first["at"], len(first["began"]), first["ended"]) == (3, None, 3, [])
    assert [price["source_field"] for price in second["ended"]] == [
        "input_cost_per_token",
        "cache_read_input_token_cost",
    ]
    assert [price["price"] for price in second["began"]] == ["0.000003"]
    [by_hand] = third["began"]
    assert (by_hand["origin"], by_hand["version"], by_hand["valid_from"], by_hand["valid_until"]) == (
        "operator", 3, third["at"], None,
    )  # fmt: skip
    old = next(price for price in first["began"] if price["source_field"] == "input_cost_per_token")
    assert (old["valid_until"], old["ended_version"]) == (second["at"], 2)
    text = loaded("models", "history", "gpt-4o").out
    for said in ("Version 1, since ever", "Version 2, from 20", "+20.0 %", "ends", "by hand", "further notice"):
        assert said in text
    assert "never had a price" in loaded("models", "history", "house-llama").err
