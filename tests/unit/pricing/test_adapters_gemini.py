"""Gemini's bodies: output is candidates and thoughts, modalities are listed, grounding is billed by itself."""

import re
from decimal import Decimal

import pytest

from gatewaydb.pricing import BillableUsage
from gatewaydb.pricing.adapters import gemini_usage
from tests.unit.pricing.conftest import catalog_entries, catalog_sheet
from tests.unit.pricing.recorded import recorded

USAGES = {
    "gemini_thinking": BillableUsage(1000, 200 + 300, reasoning_tokens=300),
    "gemini_cached_media": BillableUsage(
        5000,
        100,
        cache_read_tokens=2000,
        cache_read_audio_tokens=1500,
        audio_input_tokens=1800,
        image_input_tokens=258,
        video_input_tokens=1242,
    ),
    "gemini_search": BillableUsage(14, 160, reasoning_tokens=100, web_searches=1),
    "gemini_search_by_query": BillableUsage(14, 160, reasoning_tokens=100, web_searches=2),
    "gemini_maps": BillableUsage(20, 30, tool_calls={"maps": 1}),
    "gemini_url_context": BillableUsage(27 + 10309, 45 + 99, reasoning_tokens=99, image_input_tokens=1309),
    "gemini_image": BillableUsage(268, 1300, image_input_tokens=258, image_output_tokens=1290),
    "gemini_vertex_flex": BillableUsage(50, 70, service_tier="flex"),
    "gemini_live_event": BillableUsage(509, 240, audio_input_tokens=200, audio_output_tokens=229),
}


@pytest.mark.parametrize("name", USAGES)
def test_each_shape_is_read_whole(name: str) -> None:
    assert gemini_usage(recorded(name)) == USAGES[name]


@pytest.mark.parametrize(
    ("name", "model", "total"),
    [
        # 1000 * 0.3 + 500 * 2.5, in dollars a million
        ("gemini_thinking", "gemini-2.5-flash", "0.00155"),
        # 2700 * 0.3 + 300 * 1 + 500 * 0.03 + 1500 * 0.1 + 100 * 2.5
        ("gemini_cached_media", "gemini-2.5-flash", "0.001525"),
        # 14 * 0.3 + 160 * 2.5, and one grounded prompt
        ("gemini_search", "gemini-2.5-flash", "0.0354042"),
        # 14 * 2 + 160 * 12, and two queries
        ("gemini_search_by_query", "gemini-3.1-pro-preview", "0.029948"),
        # 268 * 0.3 + 1290 * 30 + 10 * 2.5
        ("gemini_image", "gemini-2.5-flash-image", "0.0388054"),
        # 50 * 0.625 + 70 * 5, as flex
        ("gemini_vertex_flex", "gemini-2.5-pro", "0.00038125"),
    ],
)
def test_costs_by_catalog_prices(name: str, model: str, total: str) -> None:
    assert catalog_sheet(model).cost_of(gemini_usage(recorded(name))).cost_usd == Decimal(total)


def test_thoughts_that_the_total_shows_within_the_candidates_are_not_added() -> None:
    body = recorded("gemini_thinking")
    body["usageMetadata"] |= {"candidatesTokenCount": 500}
    assert gemini_usage(body) == USAGES["gemini_thinking"]


@pytest.mark.parametrize(
    ("reported", "tier"),
    [
        ({"trafficType": "ON_DEMAND"}, "on_demand"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
        ({"trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, None),
        ({"serviceTier": "flex"}, "flex"),
        ({"serviceTier": "unspecified"}, None),
        ({}, None),
    ],
)
def test_the_tier_that_served(reported: dict[str, str], tier: str | None) -> None:
    assert gemini_usage({"usageMetadata": {"promptTokenCount": 1} | reported}).service_tier == tier


def test_pay_as_you_go_is_the_standard_price() -> None:
    usage = gemini_usage({"usageMetadata": {"promptTokenCount": 1000, "trafficType": "ON_DEMAND"}})
    assert catalog_sheet("gemini-2.5-pro").cost_of(usage).assumed == ()


def test_searches_are_billed_by_query_from_the_generation_on_that_the_catalog_says() -> None:
    grounded = {
        name: entry
        for name, entry in catalog_entries().items()
        if re.search(r"gemini-\d", name) and "search_context_cost_per_query" in entry and "vercel" not in name
    }
    assert len(grounded) > 20
    for name, entry in grounded.items():
        searches = gemini_usage(recorded("gemini_search") | {"modelVersion": name}).web_searches
        assert searches == (2 if entry.get("web_search_billing_unit") == "per_query" else 1), name
