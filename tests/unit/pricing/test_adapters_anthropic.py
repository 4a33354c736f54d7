"""Anthropic's messages: input is what was new, what was read from the cache and what was written to it."""

from decimal import Decimal

import pytest

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage, PriceSheet
from gatewaydb.pricing.adapters import anthropic_message_of, anthropic_usage
from tests.unit.pricing.conftest import catalog_sheet
from tests.unit.pricing.recorded import recorded

USAGES = {
    "anthropic_message": BillableUsage(2095, 503, service_tier="standard"),
    "anthropic_cached": BillableUsage(
        1200 + 3000 + 10000,
        800,
        cache_read_tokens=10000,
        cache_write_tokens=3000,
        cache_write_1h_tokens=2000,
        reasoning_tokens=500,
        web_searches=2,
        service_tier="priority",
        inference_geo="global",
    ),
    "anthropic_fast": BillableUsage(100, 10, service_tier="standard", inference_geo="us", speed="fast"),
    "anthropic_compaction": BillableUsage(
        23000 + 180000, 1000 + 3500, tool_calls={"advisor": 1}, service_tier="standard"
    ),
}


@pytest.mark.parametrize("name", USAGES)
def test_each_shape_is_read_whole(name: str) -> None:
    assert anthropic_usage(recorded(name)) == USAGES[name]


def test_a_cached_message_costs_each_part_once() -> None:
    cost = catalog_sheet("claude-sonnet-4-5").cost_of(anthropic_usage(recorded("anthropic_cached")))
    # 1200 * 3 + 10000 * 0.3 + 1000 * 3.75 + 2000 * 6 + 800 * 15, in dollars a million; two searches at a cent
    assert cost.cost_usd == Decimal("0.03435") + Decimal("0.02")


def test_speed_and_geography_that_served_multiply_token_costs() -> None:
    usage = anthropic_usage(recorded("anthropic_fast"))
    prices = {"input_cost_per_token": "1", "output_cost_per_token": "5", "provider_specific_entry": {"us": "1.1"}}
    assert PriceSheet.of(prices).cost_of(usage).total == 150 * Decimal("1.1")
    prices = prices | {"provider_specific_entry": {"us": "1.1", "fast": "6"}}
    assert PriceSheet.of(prices).cost_of(usage).total == 150 * Decimal("6.6")
    assert PriceSheet.of(prices).cost_of(usage, speed="standard", inference_geo="global").total == 150 * Decimal("6.6")


def test_the_events_of_a_stream_become_one_message() -> None:
    events = recorded("anthropic_stream")
    assert anthropic_usage(anthropic_message_of(events)) == BillableUsage(
        10682 + 400,
        510,
        cache_write_tokens=400,
        cache_write_1h_tokens=300,
        web_searches=1,
        service_tier="standard",
    )


def test_a_stream_that_broke_off_gives_what_it_had_reported() -> None:
    begun = anthropic_usage(anthropic_message_of(recorded("anthropic_stream")[:3]))
    assert (begun.input_tokens, begun.output_tokens) == (2679 + 400, 3)
    assert anthropic_usage(recorded("anthropic_stream")[0]) == begun


def test_a_stream_without_usage_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="input_tokens"):
        anthropic_usage(anthropic_message_of([{"type": "ping"}]))


def test_cache_writes_by_lifetime_are_their_total_where_none_is_given() -> None:
    kinds = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    usage = anthropic_usage({"usage": {"input_tokens": 5, "cache_creation": kinds}})
    assert usage == BillableUsage(35, cache_write_tokens=30, cache_write_1h_tokens=20)


def test_more_1h_writes_than_writes_are_refused() -> None:
    usage = {"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 2}}
    with pytest.raises(InvalidValueError, match="cache_write_1h_tokens"):
        anthropic_usage({"usage": usage})
