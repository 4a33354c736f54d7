"""OpenAI's bodies: counts are inclusive as they come."""

from decimal import Decimal
from typing import Any

import pytest

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage, PriceSheet
from gatewaydb.pricing.adapters import openai_usage
from tests.unit.pricing.conftest import catalog_sheet
from tests.unit.pricing.recorded import recorded

USAGES = {
    "openai_chat": BillableUsage(2006, 300, cache_read_tokens=1920, reasoning_tokens=192, service_tier="default"),
    "openai_chat_audio": BillableUsage(
        150, 220, audio_input_tokens=110, audio_output_tokens=180, service_tier="default"
    ),
    "openai_chat_search": BillableUsage(20, 90, web_searches=1, service_tier="default"),
    "openai_chat_stream_usage": BillableUsage(1117, 46, service_tier="priority"),
    "openai_responses": BillableUsage(
        8500,
        1200,
        cache_read_tokens=4096,
        reasoning_tokens=900,
        web_searches={"medium": 2},
        tool_calls={"file_search": 1, "code_interpreter": 1},
        service_tier="flex",
    ),
    "openai_responses_event": BillableUsage(
        30000,
        400,
        cache_read_tokens=10000,
        cache_write_tokens=15000,
        cache_write_12h_tokens=12000,
        service_tier="default",
    ),
    "openai_embedding": BillableUsage(8),
    "openai_transcription": BillableUsage(140, 31, audio_input_tokens=128),
    "openai_transcription_duration": BillableUsage(seconds=9),
    "openai_image": BillableUsage(420, 8320, image_input_tokens=400, image_output_tokens=8320, images=2),
    "openai_image_event": BillableUsage(50, 1156, image_output_tokens=1056, images=1),
    "openai_image_without_usage": BillableUsage(images=1),
    "openai_realtime_event": BillableUsage(
        200,
        150,
        cache_read_tokens=100,
        cache_read_audio_tokens=64,
        audio_input_tokens=120,
        audio_output_tokens=120,
    ),
}


@pytest.mark.parametrize("name", USAGES)
def test_each_shape_is_read_whole(name: str) -> None:
    assert openai_usage(recorded(name)) == USAGES[name]


@pytest.mark.parametrize(
    ("name", "model", "total"),
    [
        # 86 * 1.25 + 1920 * 0.125 + 300 * 10, in dollars a million
        ("openai_chat", "gpt-5", "0.0033475"),
        # 1117 * 4.25 + 46 * 17, as priority
        ("openai_chat_stream_usage", "gpt-4o", "0.00552925"),
        # 5000 * 4 + 10000 * 0.4 + 3000 * 5 + 12000 * 10 + 400 * 20
        ("openai_responses_event", "gpt-5.6", "0.167"),
        ("openai_embedding", "text-embedding-3-small", "0.00000016"),
        # 140 * 2.5 + 31 * 10
        ("openai_transcription", "gpt-4o-transcribe", "0.00066"),
        ("openai_transcription_duration", "whisper-1", "0.0009"),
        # 20 * 5 + 400 * 10 + 8320 * 40: the two images are those tokens
        ("openai_image", "gpt-image-1", "0.3369"),
    ],
)
def test_costs_by_catalog_prices(name: str, model: str, total: str) -> None:
    assert catalog_sheet(model).cost_of(openai_usage(recorded(name))).cost_usd == Decimal(total)


def test_tools_that_the_catalog_has_no_price_for_are_unpriced_until_they_are_given_one() -> None:
    usage = openai_usage(recorded("openai_responses"))
    cost = catalog_sheet("gpt-5").cost_of(usage)
    assert cost.unpriced == ("tool_calls[file_search]", "tool_calls[code_interpreter]")
    tools = PriceSheet.of({"file_search_cost_per_1k_calls": "2.5", "code_interpreter_cost_per_session": "0.03"})
    whole = PriceSheet([*catalog_sheet("gpt-5"), *tools]).cost_of(usage)
    # flex: 4404 * 0.625 + 4096 * 0.0625 + 1200 * 5; two searches at a cent
    assert whole.cost_usd == Decimal("0.0090085") + 2 * Decimal("0.01") + Decimal("0.0025") + Decimal("0.03")


def test_the_search_count_that_a_response_reports_wins_over_its_items() -> None:
    body = recorded("openai_responses") | {"tool_usage": {"web_search": {"num_requests": 7}}}
    assert openai_usage(body).web_searches == {"medium": 7}


def test_the_usage_alone_may_be_wrapped() -> None:
    assert openai_usage({"usage": recorded("openai_embedding")["usage"]}) == BillableUsage(8)


def test_seconds_keep_their_fraction() -> None:
    assert openai_usage({"usage": {"type": "duration", "seconds": 8.47}}).seconds == Decimal("8.47")


@pytest.mark.parametrize(
    ("usage", "named"),
    [
        ({}, "prompt_tokens"),
        ({"type": "duration", "seconds": None}, "seconds"),
        ({"type": "duration", "seconds": -1.5}, "usage.seconds"),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}, "cache_read_tokens"),
        ({"prompt_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 1}}, "reasoning_tokens"),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": "6"}}, "prompt_tokens_details.cached_tokens"),
    ],
)
def test_impossible_usage_is_refused_by_name(usage: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        openai_usage({"usage": usage})
