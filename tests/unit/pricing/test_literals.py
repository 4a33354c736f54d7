"""Numbers keep their text, and what is no price is refused at the boundary."""

from decimal import Decimal
from typing import Any

import pytest

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import NumberText, PriceSheet, decode_entries, parse_entry


def only_price(text: str) -> Decimal:
    (component,) = PriceSheet.of({"input_cost_per_token": NumberText(text)})
    assert component.literal == text
    return component.price


@pytest.mark.parametrize("literal", ["0", "0.0", "2", "5e-07", "1.50e-06", "3.3333333333333335e-05", "1E-7"])
def test_a_number_in_json_keeps_its_literal(literal: str) -> None:
    entry = decode_entries(f'{{"m": {{"input_cost_per_token": {literal}}}}}')["m"]
    assert entry["input_cost_per_token"] == literal
    assert isinstance(entry["input_cost_per_token"], NumberText)


def test_text_in_json_is_no_number() -> None:
    entry = decode_entries('{"m": {"input_cost_per_token": "5e-07"}}')["m"]
    components, problems = parse_entry(entry)
    assert not components
    assert "input_cost_per_token" in problems[0]


@pytest.mark.parametrize(
    "data",
    [
        '{"m": {"input_cost_per_token": 5e-0',
        '{"m": {"input_cost_per_token": NaN}}',
        '{"m": {"input_cost_per_token": Infinity}}',
        '{"m": {"input_cost_per_token": 1, "input_cost_per_token": 2}}',
        '{"m": {}, "m": {}}',
        '{"m": 3}',
        "[]",
        b"\xff\xfe\x00",
        "[" * 100_000,
    ],
    ids=lambda data: repr(data)[:40],
)
def test_a_malformed_file_is_refused(data: str | bytes) -> None:
    with pytest.raises(InvalidValueError):
        decode_entries(data)


@pytest.mark.parametrize(
    ("literal", "price"),
    [
        ("5.0000000000000004e-08", "5e-08"),
        ("2.1429999999999996e-06", "2.143e-06"),
        ("9.999990000000002e-06", "9.99999e-06"),
        ("3.3333333333333335e-05", "3.3333333333333335e-05"),
        ("1.1428571428571428e-06", "1.1428571428571428e-06"),
        ("2.384185791015625e-08", "2.384185791015625e-08"),
        ("0.000833333333333", "0.000833333333333"),
    ],
)
def test_float_noise_is_taken_off_and_genuine_digits_stay(literal: str, price: str) -> None:
    assert only_price(literal) == Decimal(price)


def test_a_price_that_a_user_gives_is_taken_as_it_is() -> None:
    (component,) = PriceSheet.of({"input_cost_per_token": "5.0000000000000004e-08"})
    assert component.price == Decimal("5.0000000000000004e-08")


@pytest.mark.parametrize(
    "value",
    [
        0.0000025,
        float("nan"),
        True,
        "NaN",
        "Infinity",
        "-0.1",
        "-0",
        Decimal("-1"),
        Decimal("NaN"),
        "cheap",
        "",
        "1e9",
        "1e-99",
        [],
        -1,
    ],
    ids=repr,
)
def test_what_is_no_price_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidValueError, match="output_cost_per_token"):
        PriceSheet.of({"input_cost_per_token": "1e-6", "output_cost_per_token": value})


@pytest.mark.parametrize("value", ["0.0000025", Decimal("0.0000025"), "2.5e-6"])
def test_users_give_decimals_or_text(value: Any) -> None:
    assert PriceSheet.of({"input_cost_per_token": value}).calculate_cost(1000, 0) == Decimal("0.0025")


def test_users_give_ints() -> None:
    assert PriceSheet.of({"input_cost_per_token": 0}).calculate_cost(1000, 0) == 0
