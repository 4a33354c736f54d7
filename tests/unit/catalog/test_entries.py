"""An entry of the price file becomes a model, or says why it cannot."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewaydb.catalog.entries import model_from_entry
from gatewaydb.entities import Model
from gatewaydb.entities.models import CAPABILITIES, LIMITS
from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import decode_entries


def model_of(entry: str, name: str = "m") -> Model:
    return model_from_entry(name, decode_entries(f'{{"m": {entry}}}')["m"])


def test_fields_limits_flags_and_prices_have_their_places() -> None:
    model = model_of(
        """{"litellm_provider": "openai", "mode": "chat", "max_input_tokens": 128000, "supports_vision": true,
        "source": "https://example.com/prices", "deprecation_date": "2027-01-31", "input_cost_per_token": 2.5e-06}"""
    )
    assert (model.name, model.litellm_provider, model.mode, model.origin) == ("m", "openai", "chat", "catalog")
    assert (model.max_input_tokens, model.max_tokens) == (128_000, None)
    assert (model.supports_vision, model.supports_web_search) == (True, False)
    assert (model.source, model.deprecation_date) == ("https://example.com/prices", "2027-01-31")
    assert [(price.price, price.literal) for price in model.price_sheet] == [(Decimal("0.0000025"), "2.5e-06")]
    assert not model.metadata


def test_what_is_no_field_and_no_price_is_metadata_with_ordinary_numbers() -> None:
    model = model_of(
        """{"rpm": 90, "share": 0.25, "supported_regions": ["eu"], "metadata": {"notes": "x", "size": -1},
        "web_search_billing_unit": "per_query", "output_cost_per_token": 1e-05}"""
    )
    assert json.loads(json.dumps(model.metadata)) == {
        "rpm": 90,
        "share": 0.25,
        "supported_regions": ["eu"],
        "metadata": {"notes": "x", "size": -1},
        "web_search_billing_unit": "per_query",
    }


def test_of_a_table_of_prices_and_settings_the_settings_are_metadata() -> None:
    model = model_of('{"provider_specific_entry": {"us": 1.1, "bedrock_invocation_schema": "titan_v2"}}')
    assert [price.source_field for price in model.price_sheet] == ["provider_specific_entry.us"]
    assert model.metadata == {"provider_specific_entry": {"bedrock_invocation_schema": "titan_v2"}}


def test_a_table_of_settings_alone_is_metadata() -> None:
    assert model_of('{"provider_specific_entry": {"schema": "v2"}}').metadata["provider_specific_entry"]


@pytest.mark.parametrize("limit", ["8192", '"8192"', "8192.0", "8.192e3"])
def test_a_limit_may_be_written_as_text_or_with_a_point(limit: str) -> None:
    assert model_of(f'{{"max_tokens": {limit}}}').max_tokens == 8192


def test_null_and_empty_text_are_absent() -> None:
    model = model_of(
        '{"mode": "", "max_tokens": null, "supports_vision": null, "input_cost_per_token": null, "x": null}'
    )
    assert (model.mode, model.max_tokens, model.supports_vision, len(model.price_sheet)) == (None, None, False, 0)
    assert not model.metadata


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('{"max_tokens": "set to max_output_tokens"}', "max_tokens"),
        ('{"max_tokens": 0.5}', "max_tokens"),
        ('{"max_tokens": -1}', "max_tokens"),
        ('{"max_tokens": 1e400}', "max_tokens"),
        ('{"max_tokens": true}', "max_tokens"),
        ('{"supports_vision": "yes"}', "supports_vision"),
        ('{"mode": 5}', "mode"),
        ('{"source": ["a", "b"]}', "source"),
        ('{"rpm": 1e400}', "metadata"),
        (r'{"comment": "\u0000"}', "NUL"),
        ('{"input_cost_per_token": "0.1"}', "input_cost_per_token"),
        ('{"input_cost_per_token": -1e-06}', "input_cost_per_token"),
        ('{"input_cost_per_token": true}', "input_cost_per_token"),
        ('{"input_cost_per_smell": 1e-06}', "input_cost_per_smell"),
        ('{"tiered_pricing": [{"input_cost_per_token": 1e-06}]}', "tiered_pricing"),
        ('{"tiered_pricing": [{"range": -1}]}', "tiered_pricing"),
    ],
)
def test_an_entry_that_cannot_be_read_whole_says_which_field(entry: str, reason: str) -> None:
    with pytest.raises(InvalidValueError, match=reason):
        model_of(entry)


@pytest.mark.parametrize("name", ["", " ", "n" * 256, "a\0b", "\ud800"], ids=ascii)
def test_a_name_that_cannot_be_stored_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match="name"):
        model_of("{}", name)


fields = st.sampled_from(
    (
        *LIMITS,
        *CAPABILITIES[:2],
        *("mode", "source", "rpm", "metadata", "input_cost_per_token", "output_cost_per_token_above_200k_tokens"),
        *("tiered_pricing", "off_peak_pricing", "search_context_cost_per_query", "provider_specific_entry"),
        *("range", "windows", "hours_utc", "us", "fast"),
    )
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(fields, inner), max_leaves=6)


@given(st.text(), st.dictionaries(fields, values))
def test_any_entry_is_a_model_that_can_be_stored_or_is_refused(name: str, entry: dict[str, Any]) -> None:
    try:
        model = model_from_entry(name, decode_entries(json.dumps({"m": entry}))["m"])
    except InvalidValueError:
        return
    assert model.checked() == model
