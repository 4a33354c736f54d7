"""Each price field reads as one component, and nothing that looks like a price is dropped."""

from typing import Any

import pytest

from gatewaydb.pricing import NumberText, PriceComponent, components_of, entry_of, parse_entry

PRICE = NumberText("1e-06")


def one(field: str, **entry: Any) -> PriceComponent:
    (component,) = components_of({field: PRICE} | entry)
    return component


@pytest.mark.parametrize(
    ("field", "what", "condition"),
    [
        ("input_cost_per_token", "input any plain token", {}),
        ("output_cost_per_token_batches", "output any plain token", {"mode": "batch"}),
        ("cache_read_input_audio_token_cost_flex", "input audio cache_read token", {"mode": "flex"}),
        (
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
            "input any cache_write token",
            {"cache_ttl": "1h", "input_tokens_gt": 200_000},
        ),
        (
            "cache_creation_input_token_cost_above_12hr_above_272k_tokens_ultrafast",
            "input any cache_write token",
            {"cache_ttl": "12h", "input_tokens_gt": 272_000, "mode": "ultrafast"},
        ),
        ("output_cost_per_reasoning_token", "output text reasoning token", {}),
        ("output_cost_per_second_1080p", "output any plain second", {"resolution": "1080p"}),
        ("output_cost_per_image_0.5K", "output image plain image", {"resolution": "0.5K"}),
        ("output_cost_per_image_1024", "output image plain image", {"resolution": "1024"}),
        (
            "input_cost_per_video_per_second_above_15s_interval",
            "input video plain second",
            {"segment_seconds_gt": 15},
        ),
        ("input_cost_per_token_cache_hit", "input any cache_read_alias token", {}),
        ("cost_per_second", "none any capacity second", {}),
        ("regional_processing_uplift_multiplier_eu", "none any multiplier token", {"data_residency": "eu"}),
    ],
)
def test_a_field_reads_as_a_component(field: str, what: str, condition: dict[str, Any]) -> None:
    component = one(field)
    assert f"{component.direction} {component.modality} {component.kind} {component.unit}" == what
    assert {name: getattr(component.condition, name) for name in condition} == condition
    assert component.source_field == field
    assert entry_of([component]) == {field: PRICE}


def test_prices_per_thousand_say_so() -> None:
    component = one("file_search_cost_per_1k_calls")
    assert (component.per, component.rate) == (1000, component.price / 1000)


def test_dbu_prices_are_no_dollars() -> None:
    assert one("input_dbu_cost_per_token").currency == "DBU"


def test_xai_thresholds_hold_at_their_number() -> None:
    component = one("input_cost_per_token_above_200k_tokens", litellm_provider="xai")
    assert (component.condition.input_tokens_ge, component.condition.input_tokens_gt) == (200_000, None)
    assert "input_cost_per_token_above_200k_tokens" in entry_of([component])


def test_fireworks_cache_reads_are_half_the_input_price_of_their_tier() -> None:
    entry = {
        "litellm_provider": "fireworks_ai",
        "input_cost_per_token": NumberText("2e-06"),
        "input_cost_per_token_priority": NumberText("3e-06"),
    }
    reads = [component for component in components_of(entry) if component.kind == "cache_read"]
    assert [(component.condition.mode, str(component.price)) for component in reads] == [
        (None, "0.000001"),
        ("priority", "0.0000015"),
    ]
    assert "cache_read_input_token_cost" not in entry_of(components_of(entry))


def test_a_fireworks_price_that_is_listed_wins() -> None:
    entry = {"litellm_provider": "fireworks_ai", "input_cost_per_token": PRICE, "cache_read_input_token_cost": PRICE}
    assert [component.kind for component in components_of(entry)] == ["plain", "cache_read"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_cost_per_tokne", PRICE),
        ("input_cost_per_tokne", "1e-6"),
        ("input_cost_per_token_above_lots_tokens", PRICE),
        ("output_cost_per_hologram", PRICE),
        ("weekend_pricing", {"input": PRICE}),
        ("new_multiplier", 1.5),
        ("tiered_pricing", [{"range": [NumberText("0"), NumberText("1")], "some_new_cost": PRICE}]),
        ("tiered_pricing", [{"input_cost_per_token": PRICE}]),
        ("off_peak_pricing", {"input_cost_per_token": PRICE}),
        ("off_peak_pricing", {"windows": [{"hours_utc": "25:00-26:00"}], "input_cost_per_token": PRICE}),
        ("search_context_cost_per_query", {"per_page": PRICE}),
        ("search_context_cost_per_query", PRICE),
        ("guardrail_cost_per_unit", {"topic": "free"}),
        ("input_cost_per_token", NumberText("-1")),
        ("input_cost_per_token", True),
        ("input_cost_per_token", 1e-6),
    ],
    ids=repr,
)
def test_what_looks_like_a_price_and_is_not_read_is_reported(field: str, value: Any) -> None:
    components, problems = parse_entry({"output_cost_per_token": PRICE, field: value})
    assert [component.source_field for component in components] == ["output_cost_per_token"]
    assert len(problems) == 1
    assert field in problems[0] or field == "tiered_pricing"


def test_fields_that_are_no_prices_are_let_pass() -> None:
    entry = {
        "max_tokens": NumberText("8192"),
        "pricing_page": "https://example.com/1",
        "mode": "chat",
        "supports_vision": True,
        "input_cost_per_token": None,
    }
    assert parse_entry(entry) == ((), ())
