"""Impossible counts are refused, by name."""

from decimal import Decimal
from typing import Any

import pytest

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage

FIELDS = BillableUsage.__struct_fields__
WHOLE = FIELDS[: FIELDS.index("web_searches")]


@pytest.mark.parametrize("field", [*WHOLE, "web_searches"])
@pytest.mark.parametrize("value", [True, False, 1.0, 0.0, float("nan"), -1, "1", None, 2**63], ids=repr)
def test_a_count_is_a_whole_number_within_bounds(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=field):
        BillableUsage(**{field: value})


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"input_tokens": 10, "cache_read_tokens": 11}, "cache_read_tokens"),
        ({"input_tokens": 10, "cache_read_tokens": 6, "cache_write_tokens": 5}, "cache_write_tokens"),
        ({"input_tokens": 10, "cache_write_tokens": 5, "cache_write_1h_tokens": 6}, "cache_write_1h_tokens"),
        ({"input_tokens": 10, "audio_input_tokens": 6, "image_input_tokens": 5}, "image_input_tokens"),
        ({"output_tokens": 10, "reasoning_tokens": 11}, "reasoning_tokens"),
        ({"output_tokens": 10, "reasoning_tokens": 6, "audio_output_tokens": 5}, "audio_output_tokens"),
        (
            {"input_tokens": 10, "cache_read_tokens": 5, "cache_read_audio_tokens": 1},
            "cache_read_audio_tokens",
        ),
        ({"cache_read_tokens": 1}, "cache_read_tokens"),
    ],
)
def test_a_part_is_not_larger_than_its_whole(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError, match=named):
        BillableUsage(**parts)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), Decimal(-1), Decimal("1e-30"), 1.5], ids=repr)
def test_seconds_are_exact(value: Any) -> None:
    assert BillableUsage(seconds=Decimal("12.34")).seconds == Decimal("12.34")
    with pytest.raises(InvalidValueError, match="seconds"):
        BillableUsage(seconds=value)


@pytest.mark.parametrize("field", ["web_searches", "tool_calls"])
@pytest.mark.parametrize("value", [{"low": -1}, {"low": True}, {"low": 1.5}, {1: 1}, "low"], ids=repr)
def test_counts_by_name_are_checked_too(field: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=field):
        BillableUsage(**{field: value})


def test_counts_by_name_are_the_usages_own() -> None:
    calls = {"maps": 1}
    usage = BillableUsage(tool_calls=calls)
    calls["maps"] = -5
    assert usage.tool_calls == {"maps": 1}


@pytest.mark.parametrize("field", ["service_tier", "inference_geo", "speed"])
def test_how_it_was_served_is_text(field: str) -> None:
    served: dict[str, Any] = {field: 1}
    with pytest.raises(InvalidValueError, match=field):
        BillableUsage(**served)
