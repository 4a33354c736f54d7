"""Values for people and for programs."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from gatewaydb import Model
from gatewaydb.cli.output import cell, exact_usd, plain, show_table, usd, visible


def test_decimals_are_text_without_exponent() -> None:
    assert plain({"a": Decimal("1E-7"), "b": [Decimal(100)]}) == {"a": "0.0000001", "b": ["100"]}


def test_an_entity_with_prices_is_plain() -> None:
    made = plain(Model(id=UUID(int=1), name="gpt", prices={"input_cost_per_token": "0.00000001"}))
    assert made["id"] == str(UUID(int=1))
    assert made["prices"][0]["price"] == "0.00000001"


def test_what_json_does_not_know_is_an_error_of_ours() -> None:
    with pytest.raises(TypeError):
        plain(object())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ((), "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0, "0"),
        (Decimal("1E+2"), "100"),
        (datetime(2026, 11, 23, 18, tzinfo=UTC), "2026-11-23 18:00:00Z"),
        (["a", "b"], "a, b"),
        ("a\x1b[2Jb\n", "a\\x1b[2Jb\\n"),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value).plain == text


def test_control_characters_are_written_out_and_letters_are_not() -> None:
    assert visible("schlüssel 钥匙\u202e\x07") == "schlüssel 钥匙\\u202e\\x07"


@pytest.mark.parametrize(
    ("amount", "rounded", "exact"),
    [
        ("0", "$0.0000", "$0.00"),
        ("1234.5", "$1,234.5000", "$1,234.50"),
        ("0.00001", "<$0.0001", "$0.00001"),
        ("0.007000", "$0.0070", "$0.007"),
        ("12", "$12.0000", "$12.00"),
    ],
)
def test_dollars(amount: str, rounded: str, exact: str) -> None:
    assert usd(Decimal(amount)).plain == rounded
    assert exact_usd(Decimal(amount)) == exact


def test_unpriced_is_said() -> None:
    assert usd(None).plain == "unpriced"


def test_a_narrow_terminal_leaves_columns_out_and_names_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    show_table(("name", ">count", "notes", "id"), [("a" * 10, 5, "b" * 20, "c" * 36)], "none")
    shown = capsys.readouterr()
    assert "count" in shown.out
    assert "c" * 36 not in shown.out
    assert "No room for notes, id" in shown.err
