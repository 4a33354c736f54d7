"""The sheet as a value: immutable, comparable, small."""

import pickle
import tracemalloc

import msgspec
import pytest

from gatewaydb.pricing import BillableUsage, PriceComponent, PriceSheet, components_of
from tests.unit.pricing.conftest import catalog_entries

PRICES = {"input_cost_per_token": "0.0000025", "output_cost_per_token": "0.00001"}
MODEL_BYTES_MAX = 4096


def test_it_is_a_sequence_of_components() -> None:
    sheet = PriceSheet.of(PRICES)
    assert len(sheet) == 2
    assert list(sheet) == [sheet[0], sheet[1]]
    assert sheet[:1] == PriceSheet([sheet[0]])
    assert sheet[0] in sheet
    assert not PriceSheet()


def test_equal_prices_make_equal_sheets() -> None:
    first, second = PriceSheet.of(PRICES), PriceSheet.of(PRICES)
    first.calculate_cost(1, 1)
    assert first == second
    assert len({first, second}) == 1
    assert first != PriceSheet.of(PRICES | {"output_cost_per_token": "0.00002"})
    assert pickle.loads(pickle.dumps(first)) == second


def test_it_says_little_of_itself() -> None:
    assert repr(PriceSheet.of(PRICES)) == "<PriceSheet of 2 components>"


def test_it_takes_components_as_well_as_fields() -> None:
    sheet = PriceSheet.of(PRICES)
    assert PriceSheet.of(sheet) is sheet
    assert PriceSheet.of(iter(sheet)) == sheet


def test_components_and_costs_are_json() -> None:
    cost = PriceSheet.of(PRICES).cost_of(BillableUsage(1000, 500, web_searches={"low": 1}))
    assert msgspec.json.decode(msgspec.json.encode(cost), type=type(cost)) == cost
    usage = BillableUsage(1, 1, tool_calls={"maps": 2})
    assert msgspec.json.decode(msgspec.json.encode(usage), type=BillableUsage) == usage


def test_a_component_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        PriceSheet.of(PRICES)[0].price = 0  # type: ignore[misc, assignment]


def test_a_model_with_eight_prices_stays_small() -> None:
    decode = msgspec.json.Decoder(tuple[PriceComponent, ...]).decode
    rows = [msgspec.json.encode(c) for entry in catalog_entries().values() if len(c := components_of(entry)) == 8]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        sheets = [PriceSheet(decode(row)) for row in rows]
        for sheet in sheets:
            sheet.cost_of(BillableUsage(1, 1))
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / len(sheets) < MODEL_BYTES_MAX * 0.75  # the rest is for the model's own fields
