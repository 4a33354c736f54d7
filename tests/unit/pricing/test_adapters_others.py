"""Bodies of Bedrock, xAI and Cohere."""

from decimal import Decimal

import pytest

from gatewaydb.pricing import BillableUsage, PriceSheet
from gatewaydb.pricing.adapters import bedrock_usage, cohere_usage, xai_usage
from tests.unit.pricing.conftest import catalog_sheet
from tests.unit.pricing.recorded import recorded

BEDROCK = {
    "bedrock_converse": BillableUsage(125, 60, service_tier="flex"),
    "bedrock_converse_cached": BillableUsage(
        12 + 5000 + 3000, 300, cache_read_tokens=5000, cache_write_tokens=3000, cache_write_1h_tokens=2000
    ),
    "bedrock_stream_event": BillableUsage(6000, 100, cache_read_tokens=5000),
}
XAI = {
    "xai_chat": BillableUsage(32, 9 + 94, cache_read_tokens=6, reasoning_tokens=94, service_tier="default"),
    "xai_live_search": BillableUsage(
        32, 9 + 94, cache_read_tokens=6, reasoning_tokens=94, web_searches=4, service_tier="default"
    ),
    "xai_responses": BillableUsage(
        12190,
        4801,
        cache_read_tokens=3072,
        reasoning_tokens=1500,
        web_searches=2,
        tool_calls={"x_search": 5},
        service_tier="default",
    ),
}
COHERE = {
    "cohere_chat_v1": BillableUsage(5, 418),
    "cohere_chat_v2": BillableUsage(17, 12),
    "cohere_stream_event": BillableUsage(9, 27),
    "cohere_rerank": BillableUsage(queries=1),
    "cohere_embed": BillableUsage(12 + 512, image_input_tokens=512, input_images=1),
}


@pytest.mark.parametrize("name", BEDROCK)
def test_bedrock_input_contains_the_cached_tokens(name: str) -> None:
    assert bedrock_usage(recorded(name)) == BEDROCK[name]


@pytest.mark.parametrize("name", XAI)
def test_xai_output_contains_the_reasoning(name: str) -> None:
    assert xai_usage(recorded(name)) == XAI[name]


@pytest.mark.parametrize("name", COHERE)
def test_cohere_counts_what_is_billed(name: str) -> None:
    assert cohere_usage(recorded(name)) == COHERE[name]


def test_cohere_tokens_serve_where_nothing_says_what_is_billed() -> None:
    assert cohere_usage({"usage": {"tokens": {"input_tokens": 71, "output_tokens": 4}}}) == BillableUsage(71, 4)


def test_costs_by_catalog_prices() -> None:
    sonnet = catalog_sheet("anthropic.claude-sonnet-4-5-20250929-v1:0")
    # 12 * 3 + 5000 * 0.3 + 1000 * 3.75 + 2000 * 6 + 300 * 15, in dollars a million
    assert sonnet.cost_of(bedrock_usage(recorded("bedrock_converse_cached"))).total == Decimal("0.021786")
    # 26 * 1.25 + 6 * 0.2 + 103 * 2.5
    assert catalog_sheet("xai/grok-4.3").cost_of(xai_usage(recorded("xai_chat"))).total == Decimal("0.0002912")
    assert catalog_sheet("rerank-v3.5").cost_of(cohere_usage(recorded("cohere_rerank"))).cost_usd == Decimal("0.002")
    # 12 * 0.12 + 512 * 0.47
    embedding = catalog_sheet("cohere/embed-v4.0").cost_of(cohere_usage(recorded("cohere_embed")))
    assert embedding.cost_usd == Decimal("0.00024208")


def test_an_xai_search_is_unpriced_until_it_is_given_a_price() -> None:
    usage, sheet = xai_usage(recorded("xai_live_search")), catalog_sheet("xai/grok-4.3")
    assert sheet.cost_of(usage).unpriced == ("web_searches",)
    fee = PriceSheet.of({"search_context_cost_per_query": {"search_context_size_medium": "0.005"}})
    assert PriceSheet([*sheet, *fee]).cost_of(usage).cost_usd == Decimal("0.0202912")
