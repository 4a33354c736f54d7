"""What is not billed by the token: images, seconds, pages, searches, tools."""

from decimal import Decimal
from typing import Any

import pytest

from gatewaydb.pricing import BillableUsage
from tests.unit.pricing.dollars import CHAT, cost


class TestOtherUnits:
    @pytest.mark.parametrize(
        ("field", "counts"),
        [
            ("input_cost_per_query", {"queries": 3}),
            ("input_cost_per_request", {"requests": 3}),
            ("input_cost_per_character", {"characters": 3}),
            ("output_cost_per_character", {"output_characters": 3}),
            ("ocr_cost_per_page", {"pages": 3}),
            ("annotation_cost_per_page", {"annotation_pages": 3}),
            ("ocr_cost_per_credit", {"credits": 3}),
            ("output_cost_per_image", {"images": 3}),
            ("input_cost_per_image", {"images": 3}),
            ("input_cost_per_image", {"input_images": 3}),
            ("input_cost_per_pixel", {"pixels": 3}),
            ("output_cost_per_second", {"seconds": 3}),
            ("input_cost_per_second", {"seconds": 3}),
            ("output_cost_per_video_per_second", {"seconds": 3}),
            ("input_cost_per_audio_per_second", {"audio_input_seconds": 3}),
            ("input_cost_per_second", {"audio_input_seconds": 3}),
            ("input_cost_per_video_per_second", {"video_input_seconds": 3}),
            ("cost_per_second", {"capacity_seconds": 3}),
            ("input_cost_per_text_message", {"messages": 3}),
            ("citation_cost_per_token", {"citation_tokens": 3}),
            ("google_maps_grounding_cost_per_query", {"tool_calls": {"maps": 3}}),
            ("code_interpreter_cost_per_session", {"tool_calls": {"code_interpreter": 3}}),
            ("vector_store_cost_per_gb_per_day", {"tool_calls": {"storage:vector_store": 3}}),
        ],
    )
    def test_each_count_has_its_price(self, field: str, counts: dict[str, Any]) -> None:
        assert cost({field: "7"}, BillableUsage(**counts)).cost_usd == 21

    @pytest.mark.parametrize(
        "item", ["images", "input_images", "pixels", "pages", "queries", "credits", "citation_tokens"]
    )
    def test_a_count_without_a_price_is_unpriced(self, item: str) -> None:
        counts: dict[str, Any] = {item: 1}
        assert cost(CHAT, BillableUsage(100, 10, **counts)).unpriced == (item,)

    def test_requests_without_a_price_are_free(self) -> None:
        assert cost(CHAT, BillableUsage(100, 10, requests=1)).cost_usd == 300

    def test_prices_per_thousand(self) -> None:
        assert cost(
            {"file_search_cost_per_1k_calls": "2.5"}, BillableUsage(tool_calls={"file_search": 2})
        ).total == Decimal("0.005")

    def test_guardrail_units(self) -> None:
        prices = {"guardrail_cost_per_unit": {"topicPolicyUnits": "0.15", "wordPolicyUnits": "0"}}
        usage = BillableUsage(tool_calls={"guardrail:topicPolicyUnits": 2, "guardrail:wordPolicyUnits": 9})
        assert cost(prices, usage).cost_usd == Decimal("0.30")

    def test_one_duration_is_billed_in_one_direction(self) -> None:
        both = {"input_cost_per_second": "2", "output_cost_per_second": "2"}
        assert cost(both, BillableUsage(seconds=Decimal("1.5"))).total == 3
        assert cost(both | {"output_cost_per_second": "0"}, BillableUsage(seconds=1)).total == 2

    def test_resolutions(self) -> None:
        prices = {"output_cost_per_second": "4", "output_cost_per_second_720p": "2", "output_cost_per_second_4k": "9"}
        usage = BillableUsage(seconds=1)
        assert cost(prices, usage, resolution="720P").total == 2
        assert cost(prices, usage).total == 4
        assert cost(prices, usage).assumed == ()
        assert "8k" in cost(prices, usage, resolution="8k").assumed[0]

    def test_segments(self) -> None:
        prices = {"input_cost_per_video_per_second": "1", "input_cost_per_video_per_second_above_8s_interval": "2"}
        usage = BillableUsage(video_input_seconds=20)
        assert [cost(prices, usage, segment_seconds=n).total for n in (8, 9)] == [20, 40]

    @pytest.mark.parametrize(("results", "price"), [(None, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, None)])
    def test_ranges_of_results_contain_both_ends(self, results: int | None, price: int | None) -> None:
        rows = [{"max_results_range": [low, low + 9], "input_cost_per_query": str(low // 10 + 1)} for low in (1, 11)]
        assert cost({"tiered_pricing": rows}, BillableUsage(queries=1), max_results=results).cost_usd == price

    def test_searches_by_context_size(self) -> None:
        sizes = {"search_context_size_low": "1", "search_context_size_medium": "2", "search_context_size_high": "4"}
        prices = {"search_context_cost_per_query": sizes}
        assert cost(prices, BillableUsage(web_searches=3)).total == 6
        assert cost(prices, BillableUsage(web_searches=3), search_context_size="high").total == 12
        assert cost(prices, BillableUsage(web_searches={"low": 2, "high": 1})).total == 6
        assert cost(prices, BillableUsage(web_searches={"enormous": 1})).unpriced == ("web_searches[enormous]",)

    def test_an_allowance_is_used_up_first(self) -> None:
        prices = {"search_context_cost_per_query": {"search_context_size_medium": "2"}}
        assert [cost(prices, BillableUsage(web_searches=3), free={"web_search": n}).total for n in (0, 2, 9)] == [
            6,
            2,
            0,
        ]

    @pytest.mark.parametrize(
        ("prices", "counts", "total"),
        [
            ({"input_cost_per_character": "1"}, {"input_tokens": 10, "characters": 40}, 40),
            ({"input_cost_per_image": "9"}, {"input_tokens": 10, "image_input_tokens": 8, "input_images": 1}, 4 + 9),
            ({"output_cost_per_image": "9"}, {"output_tokens": 8, "image_output_tokens": 8, "images": 1}, 9),
            (
                {"output_cost_per_image": "9", "output_cost_per_image_token": "3"},
                {"output_tokens": 8, "image_output_tokens": 8, "images": 1},
                24,
            ),
            ({"output_cost_per_second": "9"}, {"output_tokens": 5, "seconds": 1}, 50),
            ({}, {"input_tokens": 10, "characters": 40}, 20),
        ],
    )
    def test_the_same_thing_in_two_units_is_billed_once(
        self, prices: dict[str, str], counts: dict[str, Any], total: int
    ) -> None:
        assert cost(CHAT | prices, BillableUsage(**counts)).cost_usd == total

    def test_tokens_that_a_model_priced_by_the_image_reports_are_not_unpriced(self) -> None:
        assert cost({"output_cost_per_image": "9"}, BillableUsage(12, images=1)).cost_usd == 9
