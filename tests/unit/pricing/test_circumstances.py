"""Prices that depend on when and where a request was served."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage, PriceSheet
from tests.unit.pricing.dollars import CHAT, cost, rates


class TestTime:
    MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
    PRICES = CHAT | {
        "cache_creation_input_token_cost": "3",
        "off_peak_pricing": {
            "input_cost_per_token": "1",
            "windows": [
                {"hours_utc": ["22:00-02:00", "10:00-12:00"], "weekdays": [1, 2, 3, 4, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        },
    }

    @pytest.mark.parametrize(
        ("days", "hour", "minute", "rate"),
        [(0, 0, 0, 1), (0, 1, 59, 1), (0, 2, 0, 2), (0, 10, 0, 1), (0, 12, 0, 2), (0, 22, 0, 1), (5, 15, 0, 1)],
    )
    def test_windows_open_at_their_start_and_close_at_their_end(
        self, days: int, hour: int, minute: int, rate: int
    ) -> None:
        at = self.MONDAY + timedelta(days=days, hours=hour, minutes=minute)
        assert cost(self.PRICES, at=at).input == 100 * rate

    def test_weekdays_are_those_of_the_named_time_zone(self) -> None:
        block: dict[str, Any] = {"input_cost_per_token": "1", "weekday_timezone": "Asia/Shanghai"}
        block["windows"] = [{"hours_utc": "00:00-00:00", "weekdays": [6]}]
        prices = CHAT | {"off_peak_pricing": block}
        friday_evening = self.MONDAY + timedelta(days=4, hours=16)
        assert cost(prices, at=friday_evening).input == 100
        assert cost(prices, at=friday_evening - timedelta(minutes=1)).input == 200

    def test_what_a_window_does_not_list_keeps_its_price(self) -> None:
        assert rates(cost(self.PRICES, BillableUsage(10, 0, cache_write_tokens=10), at=self.MONDAY)) == {
            "cache_write_tokens": 3
        }

    def test_the_price_of_then_is_used(self) -> None:
        (component,) = PriceSheet.of({"input_cost_per_token": "1"})
        change = self.MONDAY
        sheet = PriceSheet(
            [
                replace(component, valid_until=change),
                replace(component, valid_from=change, price=Decimal(3)),
            ]
        )
        usage = BillableUsage(1, 0)
        assert sheet.cost_of(usage, at=change - timedelta(microseconds=1)).total == 1
        assert sheet.cost_of(usage, at=change).total == 3
        assert sheet.cost_of(usage, at=change + timedelta(days=9)).total == 3

    def test_a_past_that_is_closed_keeps_the_present_price(self) -> None:
        old = PriceSheet.of(CHAT)
        then = datetime(2020, 1, 1, tzinfo=UTC)
        now = [replace(component, valid_from=then, price=Decimal(1)) for component in old]
        history = PriceSheet([*(replace(component, valid_until=then) for component in old), *now])
        assert history.cost_of(BillableUsage(100, 10)) == PriceSheet(now).cost_of(BillableUsage(100, 10))
        assert history.cost_of(BillableUsage(100, 10)).total == 110

    def test_before_its_first_price_a_model_is_unpriced(self) -> None:
        (component,) = PriceSheet.of({"input_cost_per_token": "1"})
        sheet = PriceSheet([replace(component, valid_from=self.MONDAY)])
        assert sheet.cost_of(BillableUsage(1, 0), at=self.MONDAY - timedelta(days=1)).cost_usd is None

    def test_after_its_last_price_a_model_is_unpriced(self) -> None:
        (component,) = PriceSheet.of({"input_cost_per_token": "1"})
        sheet = PriceSheet([replace(component, valid_until=self.MONDAY)])
        assert sheet.cost_of(BillableUsage(1, 0), at=self.MONDAY).cost_usd is None
        gone = PriceSheet([replace(component, valid_until=datetime(2020, 1, 1, tzinfo=UTC))])
        assert gone.cost_of(BillableUsage(1, 0)).cost_usd is None
        assert sheet.cost_of(BillableUsage(1, 0), at=self.MONDAY - timedelta(microseconds=1)).cost_usd == 1

    def test_a_price_to_come_waits_for_its_day(self) -> None:
        (component,) = PriceSheet.of({"input_cost_per_token": "1"})
        sheet = PriceSheet(
            [component, replace(component, price=Decimal(9), valid_from=datetime.max.replace(tzinfo=UTC))]
        )
        assert sheet.cost_of(BillableUsage(1, 0)).total == 1

    def test_a_time_without_a_zone_is_refused(self) -> None:
        with pytest.raises(InvalidValueError, match="at"):
            cost(CHAT, at=datetime(2026, 1, 1))  # noqa: DTZ001
        (component,) = PriceSheet.of({"input_cost_per_token": "1"})
        with pytest.raises(InvalidValueError, match="valid_from"):
            replace(component, valid_from=datetime(2026, 1, 1))  # noqa: DTZ001


class TestMultipliers:
    PRICES = CHAT | {
        "regional_processing_uplift_multiplier_eu": "1.1",
        "regional_endpoint_uplift_multiplier": "1.2",
        "provider_specific_entry": {"us": "1.3", "fast": "2", "some_setting": "x"},
        "search_context_cost_per_query": {"search_context_size_medium": "5"},
    }

    @pytest.mark.parametrize(
        ("context", "factor"),
        [
            ({}, "1"),
            ({"data_residency": "eu"}, "1.1"),
            ({"data_residency": "us"}, "1"),
            ({"vertex_location": "europe-west4"}, "1.2"),
            ({"vertex_location": "global"}, "1"),
            ({"inference_geo": "US"}, "1.3"),
            ({"inference_geo": "global"}, "1"),
            ({"speed": "fast"}, "2"),
            ({"inference_geo": "us", "speed": "fast"}, "2.6"),
        ],
    )
    def test_they_act_on_token_costs_only(self, context: dict[str, str], factor: str) -> None:
        result = cost(self.PRICES, BillableUsage(100, 10, web_searches=1), **context)
        assert result.total == 300 * Decimal(factor) + 5
        assert all(line.amount == line.rate * line.count * line.multiplier for line in result.lines)


@pytest.mark.parametrize(
    "context", [{"resolutoin": "4k"}, {"resolution": 4}, {"max_results": "3"}, {"max_results": True}]
)
def test_a_context_that_is_not_known_is_refused(context: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=next(iter(context))):
        cost(CHAT, **context)
