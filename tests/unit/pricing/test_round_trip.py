"""The whole catalog becomes components and comes back, without loss."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from gatewaydb.pricing import (
    ALWAYS,
    NumberText,
    PriceComponent,
    components_of,
    condition_from_json,
    condition_to_json,
    entry_of,
    parse_entry,
)

PRICED_ENTRIES = 4_457
PRICE_LEAVES = 18_688
TABLES = ("tiered_pricing", "off_peak_pricing", "provider_specific_entry")
BOUNDS = ("range", "max_results_range", "weekdays")
SETTINGS = ("minimax_free_input_images",)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Each number of the price fields with its path; bounds as whole numbers (`256000.0` is 256000)."""
    if isinstance(value, NumberText):
        yield path, str(int(float(value))) if any(name in path for name in BOUNDS) else str(value)
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if name not in SETTINGS:
                yield from leaves(item, (*path, name))


def price_fields(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        field: value for field, value in entry.items() if "cost" in field or "multiplier" in field or field in TABLES
    }


def test_every_leaf_comes_back_with_its_name_and_literal(entries: dict[str, dict[str, Any]]) -> None:
    for name, entry in entries.items():
        assert dict(leaves(entry_of(components_of(entry)))) == dict(leaves(price_fields(entry))), name


def test_every_priced_entry_and_every_leaf_is_there(entries: dict[str, dict[str, Any]]) -> None:
    counts = [sum(1 for component in components_of(entry) if component.source_field) for entry in entries.values()]
    assert sum(map(bool, counts)) == PRICED_ENTRIES
    assert sum(counts) == PRICE_LEAVES


def test_nothing_in_the_catalog_is_a_problem(entries: dict[str, dict[str, Any]]) -> None:
    assert not [(name, problems) for name, entry in entries.items() if (problems := parse_entry(entry)[1])]


def test_no_two_prices_of_a_model_are_for_the_same_thing(entries: dict[str, dict[str, Any]]) -> None:
    for name, entry in entries.items():
        keys = [(c.direction, c.modality, c.kind, c.unit, c.per, c.currency, c.condition) for c in components_of(entry)]
        assert len(set(keys)) == len(keys), name


def test_components_survive_their_way_through_rows(entries: dict[str, dict[str, Any]]) -> None:
    decoder = msgspec.json.Decoder(tuple[PriceComponent, ...])
    for entry in entries.values():
        components = components_of(entry)
        assert decoder.decode(msgspec.json.encode(components)) == components
        for component in components:
            assert condition_from_json(condition_to_json(component.condition)) == component.condition


def test_an_empty_condition_takes_no_space() -> None:
    assert condition_to_json(ALWAYS) == "{}"


@pytest.mark.parametrize("text", ["", "[]", '{"mood": "good"}', '{"input_tokens_gt": "many"}'])
def test_a_damaged_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a price condition"):
        condition_from_json(text)
