"""The rules of what a cost is, one by one: parts, fallbacks, thresholds, tier tables and modes."""

from decimal import Decimal
from typing import Any

import pytest

from gatewaydb.errors import InvalidValueError, PriceNotFoundError
from gatewaydb.pricing import BillableUsage, Cost, PriceSheet
from tests.unit.pricing.dollars import CHAT, cost, dollars, rates


def test_plain_text_in_and_out() -> None:
    plain = cost(CHAT)
    assert (plain.total, plain.input, plain.output, plain.cost_usd) == dollars(300, 200, 100, 300)
    assert (plain.unpriced, plain.assumed) == ((), ())
    assert [line.item for line in plain.lines] == ["text_input_tokens", "text_output_tokens"]
    assert [(line.count, line.rate, line.amount) for line in plain.lines] == [
        dollars(100, 2, 200),
        dollars(10, 10, 100),
    ]


def test_the_parts_of_a_whole_are_billed_once() -> None:
    usage = BillableUsage(
        100, 50, cache_read_tokens=20, cache_write_tokens=30, cache_write_1h_tokens=10, audio_input_tokens=5,
        reasoning_tokens=15, audio_output_tokens=5,
    )  # fmt: skip
    result = cost(CHAT, usage)
    assert {line.item: line.count for line in result.lines} == {
        "text_input_tokens": 45,
        "audio_input_tokens": 5,
        "cache_read_tokens": 20,
        "cache_write_tokens": 20,
        "cache_write_1h_tokens": 10,
        "text_output_tokens": 30,
        "reasoning_tokens": 15,
        "audio_output_tokens": 5,
    }
    assert (result.input, result.output) == dollars(200, 500)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("cache_read_input_token_cost", {"cache_read_tokens": 50}),
        ("cache_creation_input_token_cost", {"cache_write_tokens": 50}),
        ("cache_creation_input_token_cost", {"cache_write_tokens": 50, "cache_write_1h_tokens": 50}),
        ("cache_creation_input_token_cost_above_1hr", {"cache_write_tokens": 50, "cache_write_1h_tokens": 50}),
        ("cache_creation_input_token_cost_above_12hr", {"cache_write_tokens": 50, "cache_write_12h_tokens": 50}),
        ("input_cost_per_audio_token", {"audio_input_tokens": 50}),
        ("input_cost_per_image_token", {"image_input_tokens": 50}),
        ("input_cost_per_video_token", {"video_input_tokens": 50}),
        ("explicit_cache_read_input_token_cost", {"cache_read_tokens": 50, "explicit_cache_read_tokens": 50}),
        (
            "cache_read_input_audio_token_cost",
            {"cache_read_tokens": 50, "audio_input_tokens": 50, "cache_read_audio_tokens": 50},
        ),
    ],
)
def test_a_part_has_its_own_price_or_that_of_input(field: str, part: dict[str, Any]) -> None:
    usage = BillableUsage(100, 0, **part)
    priced, unlisted = cost(CHAT | {field: "7"}, usage), cost(CHAT, usage)
    assert priced.total == 50 * 2 + 50 * 7
    assert unlisted.total == 100 * 2
    assert unlisted.lines[-1].fallback
    assert "no price of its own" in unlisted.lines[-1].why


def test_an_explicit_zero_is_a_price() -> None:
    free_cache = cost(CHAT | {"cache_read_input_token_cost": "0"}, BillableUsage(100, 0, cache_read_tokens=60))
    assert free_cache.total == 80
    free = cost({"input_cost_per_token": "0", "output_cost_per_token": "0"})
    assert free.cost_usd == 0
    assert free.unpriced == ()


def test_what_has_no_price_is_unpriced_and_not_free() -> None:
    half = cost({"input_cost_per_token": "2"})
    assert half.unpriced == ("text_output_tokens",)
    assert (half.input, half.output) == dollars(200, 0)
    assert half.cost_usd is None
    assert cost({}).unpriced == ("text_input_tokens", "text_output_tokens")


@pytest.mark.parametrize("counts", [{"images": 1}, {"audio_output_tokens": 5}])
def test_calculate_cost_raises_where_a_price_is_missing(counts: dict[str, int]) -> None:
    sheet = PriceSheet.of({"input_cost_per_token": "2", "output_cost_per_image_token_batches": "1"})
    with pytest.raises(PriceNotFoundError):
        sheet.calculate_cost(100, 10, **counts)


def test_calculate_cost_is_a_face_of_the_same_calculator() -> None:
    sheet = PriceSheet.of(
        CHAT
        | {"cache_read_input_token_cost": "1", "output_cost_per_reasoning_token": "20", "output_cost_per_image": "50"}
    )
    usage = BillableUsage(100, 10, cache_read_tokens=40, reasoning_tokens=5, images=2)
    assert sheet.calculate_cost(100, 10, 40, 0, 5, 0, 0, 2) == sheet.cost_of(usage).total == 120 + 40 + 50 + 100 + 100


class TestThresholds:
    PRICES = CHAT | {"input_cost_per_token_above_1k_tokens": "4", "input_cost_per_token_above_2k_tokens": "6"}

    @pytest.mark.parametrize(("tokens", "rate"), [(999, 2), (1000, 2), (1001, 4), (2000, 4), (2001, 6)])
    def test_the_whole_request_is_repriced_strictly_above(self, tokens: int, rate: int) -> None:
        assert cost(self.PRICES, BillableUsage(tokens, 1)).input == tokens * rate

    def test_xai_reprices_at_the_threshold(self) -> None:
        prices = self.PRICES | {"litellm_provider": "xai"}
        assert cost(prices, BillableUsage(999, 1)).input == 999 * 2
        assert cost(prices, BillableUsage(1000, 1)).input == 1000 * 4

    def test_cached_tokens_count_towards_it(self) -> None:
        assert cost(self.PRICES, BillableUsage(1001, 0, cache_read_tokens=1000)).total == 1001 * 4


class TestTierTable:
    PRICES = CHAT | {
        "cache_read_input_token_cost": "1",
        "tiered_pricing": [
            {"range": [0, 1000], "input_cost_per_token": "3", "output_cost_per_token": "5"},
            {"range": [1000, 2000], "input_cost_per_token": "4"},
        ],
    }

    @pytest.mark.parametrize(("tokens", "rate"), [(1, 3), (1000, 3), (1001, 4), (2000, 4), (5000, 4)])
    def test_it_wins_over_flat_prices_and_its_last_row_has_no_top(self, tokens: int, rate: int) -> None:
        assert cost(self.PRICES, BillableUsage(tokens, 0)).input == tokens * rate

    def test_the_order_of_its_rows_does_not_matter(self) -> None:
        prices = self.PRICES | {"tiered_pricing": self.PRICES["tiered_pricing"][::-1]}
        assert [cost(prices, BillableUsage(tokens, 0)).input for tokens in (1000, 1001)] == [3000, 4004]

    def test_a_row_serves_what_it_does_not_list_with_its_input_price(self) -> None:
        assert rates(cost(self.PRICES, BillableUsage(100, 0, cache_read_tokens=100))) == {"cache_read_tokens": 3}

    def test_reasoning_is_billed_at_the_rows_output_price(self) -> None:
        prices = self.PRICES | {"output_cost_per_reasoning_token": "9"}
        assert rates(cost(prices, BillableUsage(1, 10, reasoning_tokens=10)))["reasoning_tokens"] == 5

    def test_a_row_without_an_output_price_leaves_the_flat_one(self) -> None:
        assert cost(self.PRICES, BillableUsage(1500, 10)).output == 100


class TestModes:
    PRICES = CHAT | {
        "input_cost_per_token_flex": "1",
        "input_cost_per_token_batches": "0.5",
        "output_cost_per_token_batches": "5",
        "input_cost_per_token_above_1k_tokens": "4",
        "input_cost_per_token_above_1k_tokens_flex": "3",
    }

    def test_a_service_tier_has_its_prices(self) -> None:
        assert cost(self.PRICES, service_tier="flex").input == 100

    def test_a_tier_without_a_price_is_standard_and_says_so(self) -> None:
        flex = cost(self.PRICES, service_tier="flex")
        assert flex.output == 100
        assert "flex" in flex.assumed[0]
        assert "flex" in flex.lines[1].why

    @pytest.mark.parametrize("tier", [None, "default", "standard", "auto", "Default"])
    def test_standard_has_many_names(self, tier: str | None) -> None:
        assert cost(self.PRICES, service_tier=tier) == cost(self.PRICES)

    def test_threshold_and_tier_meet(self) -> None:
        assert cost(self.PRICES, BillableUsage(1001, 0), service_tier="flex").input == 1001 * 3

    def test_a_tier_without_a_threshold_price_takes_the_standard_one(self) -> None:
        long = cost(self.PRICES, BillableUsage(1001, 0), batch=True)
        assert long.input == 1001 * 4
        assert long.assumed

    def test_batch_has_its_prices(self) -> None:
        assert cost(self.PRICES, batch=True).total == 50 + 50

    def test_a_batch_without_a_price_is_standard_and_says_so(self) -> None:
        batch = cost(CHAT, batch=True)
        assert (batch.total, batch.cost_usd) == dollars(300, 300)
        assert "batch" in batch.assumed[0]

    def test_decisions_have_their_prices(self) -> None:
        assert cost(CHAT | {"output_cost_per_token_decisions": "0"}, call_type="decisions").output == 0

    @pytest.mark.parametrize("bad", [{"batch": 1}, {"service_tier": 3}])
    def test_another_type_is_refused(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InvalidValueError):
            cost(CHAT, **bad)


def test_output_of_a_model_that_only_makes_images_is_images() -> None:
    result = cost({"input_cost_per_token": "1", "output_cost_per_image_token": "3"}, BillableUsage(1, 2))
    assert (result.output, result.cost_usd) == dollars(6, 7)
    assert "images" in result.assumed[0]


def test_unreported_overlap_of_cache_and_media_is_not_billed_twice() -> None:
    prices = CHAT | {"cache_read_input_token_cost": "1", "input_cost_per_audio_token": "4"}
    result = cost(prices, BillableUsage(100, 0, cache_read_tokens=60, audio_input_tokens=70))
    assert {line.item: line.count for line in result.lines} == {"audio_input_tokens": 40, "cache_read_tokens": 60}
    assert "cached" in result.assumed[0]


def test_prices_in_another_currency_take_no_part() -> None:
    assert cost({"input_dbu_cost_per_token": "3"}, BillableUsage(1, 0)).cost_usd is None


def test_nothing_used_costs_nothing() -> None:
    assert cost({}, BillableUsage()) == Cost(Decimal(0), Decimal(0), Decimal(0), ())
