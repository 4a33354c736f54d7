from decimal import Decimal

import pytest

from gatewaydb import Model
from gatewaydb.catalog import ModelChange, PriceChange
from gatewaydb.catalog.comparison import compare

FIELD = "input_cost_per_token"


def model(**prices: str) -> Model:
    return Model(name="m", origin="catalog", prices=prices)


def change(before: str | None, after: str | None) -> PriceChange:
    old = model(**({} if before is None else {FIELD: before}))
    new = model(**({} if after is None else {FIELD: after}))
    (found,) = compare(old, new).prices
    return found


@pytest.mark.parametrize(
    ("before", "after", "percent", "warning"),
    [
        ("0.0000025", "0.000003", "20.0", ""),
        ("0.000003", "0.0000025", "-16.7", ""),
        ("0.000003", "0.00003", "900.0", "grows tenfold or more"),
        ("0.00003", "0.000003", "-90.0", "shrinks to a tenth or less"),
        ("0.000003", "0", "-100.0", "turns 0"),
        ("0", "0.000003", None, "was free"),
        ("0.000003", None, None, "is gone"),
        (None, "0.000003", None, ""),
        (None, "0", None, ""),
    ],
)
def test_a_change_says_by_how_much_and_what_looks_wrong(
    before: str | None, after: str | None, percent: str | None, warning: str
) -> None:
    found = change(before, after)
    assert found.field == FIELD
    assert found.percent == (None if percent is None else Decimal(percent))
    assert found.warning == warning


def test_the_same_price_written_otherwise_is_no_change_of_it() -> None:
    assert compare(model(**{FIELD: "1e-06"}), model(**{FIELD: "0.0000010"})).prices == ()


def test_fields_that_differ_are_named() -> None:
    old = Model(name="m", mode="chat", metadata={"a": 1})
    new = Model(name="m", mode="completion", metadata={"a": 1}, supports_vision=True)
    assert compare(old, new) == ModelChange("m", ("mode", "supports_vision"), ())
