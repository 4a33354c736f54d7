"""Bugs that users of other gateways reported: each may happen there, none here.

Numbers are issues of LiteLLM unless another project is named. Prices are the bundled catalog's where they matter.
"""

from decimal import Decimal

import pytest

from gatewaydb.errors import PriceNotFoundError
from gatewaydb.pricing import BillableUsage, PriceSheet
from tests.unit.pricing.conftest import catalog_entries, catalog_sheet

MILLION = 1_000_000


def sheet(**dollars_per_million: str) -> PriceSheet:
    return PriceSheet.of({field: Decimal(price) / MILLION for field, price in dollars_per_million.items()})


def test_cached_tokens_are_not_billed_twice_6215_14849() -> None:
    prices = sheet(input_cost_per_token="2.5", output_cost_per_token="10", cache_read_input_token_cost="1.25")
    assert prices.calculate_cost(MILLION, 0, cache_read_tokens=MILLION) == Decimal("1.25")


def test_anthropic_cache_writes_are_not_doubled_9812_6575() -> None:
    prices = sheet(input_cost_per_token="3", output_cost_per_token="15", cache_creation_input_token_cost="3.75")
    assert prices.calculate_cost(MILLION, 0, cache_write_tokens=MILLION) == Decimal("3.75")


def test_flex_is_not_billed_as_standard_13810() -> None:
    usage = BillableUsage(MILLION // 10, 1000)
    flex, standard = catalog_sheet("gpt-5").cost_of(usage, service_tier="flex"), catalog_sheet("gpt-5").cost_of(usage)
    assert flex.total * 2 == standard.total


def test_served_default_is_not_billed_as_the_priority_that_was_asked_for_31837() -> None:
    prices, asked = catalog_sheet("gpt-5"), "priority"
    served = BillableUsage(1000, 500, service_tier="default")
    assert prices.cost_of(served, service_tier=asked).total == prices.cost_of(BillableUsage(1000, 500)).total
    assert prices.cost_of(BillableUsage(1000, 500), service_tier=asked).total > prices.cost_of(served).total


def test_no_search_fee_without_a_search_10384() -> None:
    lines = catalog_sheet("gpt-4o-search-preview").cost_of(BillableUsage(1000, 500)).lines
    assert not [line for line in lines if line.component.kind == "tool:web_search"]


def test_a_search_is_not_free_31316() -> None:
    prices = catalog_sheet("gpt-4o-search-preview")
    searched = prices.cost_of(BillableUsage(1000, 500, web_searches=2)).total
    fee = Decimal(
        catalog_entries()["gpt-4o-search-preview"]["search_context_cost_per_query"]["search_context_size_medium"]
    )
    assert searched - prices.cost_of(BillableUsage(1000, 500)).total == 2 * fee > 0


def test_a_one_hour_write_in_a_long_context_has_its_own_price_18988() -> None:
    prices = sheet(
        input_cost_per_token="3",
        input_cost_per_token_above_200k_tokens="6",
        cache_creation_input_token_cost="3.75",
        cache_creation_input_token_cost_above_200k_tokens="7.5",
        cache_creation_input_token_cost_above_1hr="6",
        cache_creation_input_token_cost_above_1hr_above_200k_tokens="12",
    )
    usage = BillableUsage(MILLION, 0, cache_write_tokens=MILLION, cache_write_1h_tokens=MILLION)
    assert prices.cost_of(usage).total == 12


def test_reasoning_follows_the_service_tier_35925() -> None:
    prices = sheet(
        input_cost_per_token="1",
        output_cost_per_token="8",
        output_cost_per_reasoning_token="8",
        output_cost_per_token_priority="16",
    )
    usage = BillableUsage(0, MILLION, reasoning_tokens=MILLION)
    assert prices.cost_of(usage, service_tier="priority").total == 16


def test_cached_tokens_of_a_batch_are_not_billed_as_new_38341() -> None:
    prices = sheet(
        input_cost_per_token="2",
        output_cost_per_token="8",
        input_cost_per_token_batches="1",
        output_cost_per_token_batches="4",
        cache_read_input_token_cost="0.5",
    )
    cost = prices.cost_of(BillableUsage(MILLION, 0, cache_read_tokens=MILLION), batch=True)
    assert cost.total == Decimal("0.5")
    assert cost.assumed


def test_a_missing_price_does_not_become_zero_bifrost_3666_5394_6036() -> None:
    unpriced = PriceSheet().cost_of(BillableUsage(1000, 500))
    assert unpriced.cost_usd is None
    with pytest.raises(PriceNotFoundError):
        PriceSheet().calculate_cost(1000, 500)


def test_a_threshold_reprices_the_whole_request_genai_241() -> None:
    prices = sheet(input_cost_per_token="1.25", input_cost_per_token_above_200k_tokens="2.5", output_cost_per_token="1")
    assert prices.cost_of(BillableUsage(MILLION, 0)).total == Decimal("2.5")
