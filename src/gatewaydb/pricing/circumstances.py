"""The circumstances of a request, and whether a price's condition holds in them."""

from datetime import datetime
from typing import Any, NamedTuple

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.components import ALWAYS, Condition
from gatewaydb.pricing.windows import open_at

_STANDARD_TIERS = frozenset(("", "auto", "default", "on_demand", "standard"))
_TIER_SYNONYMS = {"fast": "priority"}  # as in LiteLLM's catalog: `fast` requests are billed at the priority fields


class Circumstances(NamedTuple):
    """What conditions are held against. Without `at`, validity is not asked for."""

    input_tokens: int
    tier_tokens: int
    """The input tokens, kept within the tier table, so that its last row also serves what lies above it."""
    mode: str | None = None
    at: datetime | None = None
    resolution: str | None = None
    segment_seconds: int | None = None
    max_results: int | None = None
    search_context_size: str = "medium"
    data_residency: str | None = None
    vertex_location: str | None = None
    inference_geo: str | None = None
    speed: str | None = None


CONTEXT: dict[str, type] = {
    "resolution": str,
    "segment_seconds": int,
    "max_results": int,
    "search_context_size": str,
    "data_residency": str,
    "vertex_location": str,
    "inference_geo": str,
    "speed": str,
}
"""The names that the calculator's context knows, and their types."""


def checked_context(context: dict[str, Any]) -> dict[str, Any]:
    """The context with its text in lower case; None counts as not given.

    InvalidValueError for an unknown name or another type.
    """
    checked = {}
    for name, value in context.items():
        if name not in CONTEXT:
            raise InvalidValueError(f"{name}: is no context of a cost; known are {', '.join(CONTEXT)}")
        if value is None:
            continue
        if type(value) is not CONTEXT[name]:
            raise InvalidValueError(f"{name}: must be {CONTEXT[name].__name__}, not {value!r}")
        checked[name] = value.lower() if isinstance(value, str) else value
    return checked


def mode_of(service_tier: str | None, batch: bool, call_type: str | None) -> str | None:
    """The one mode that prices a request: batch, else its service tier, else `decisions`. None is standard.

    InvalidValueError for a `batch` that is no bool and a tier that is no text.
    """
    if not isinstance(batch, bool):
        raise InvalidValueError(f"batch: must be True or False, not {batch!r}")
    if service_tier is not None and not isinstance(service_tier, str):
        raise InvalidValueError(f"service_tier: must be text, not {service_tier!r}")
    if batch:
        return "batch"
    tier = (service_tier or "").lower()
    if tier not in _STANDARD_TIERS:
        return _TIER_SYNONYMS.get(tier, tier)
    return "decisions" if call_type == "decisions" else None


def holds(condition: Condition, given: Circumstances, search_context_size: str | None = None) -> bool:
    """Whether everything that the condition asks for is so."""
    if condition is ALWAYS:
        return True
    return (
        (condition.mode is None or condition.mode == given.mode)
        and (condition.input_tokens_gt is None or given.input_tokens > condition.input_tokens_gt)
        and (condition.input_tokens_ge is None or given.input_tokens >= condition.input_tokens_ge)
        and _in_ranges(condition, given)
        and (not condition.windows or _in_windows(condition, given))
        and (condition.resolution is None or condition.resolution.lower() == given.resolution)
        and (condition.segment_seconds_gt is None or (given.segment_seconds or 0) > condition.segment_seconds_gt)
        and condition.search_context_size in (None, search_context_size or given.search_context_size)
        and _in_place(condition, given)
        and condition.speed in (None, given.speed)
    )


def _in_ranges(condition: Condition, given: Circumstances) -> bool:
    if (tokens := condition.input_tokens_range) is not None and not tokens[0] < given.tier_tokens <= tokens[1]:
        return False
    results = condition.max_results_range
    return results is None or given.max_results is None or results[0] <= given.max_results <= results[1]


def _in_windows(condition: Condition, given: Circumstances) -> bool:
    return given.at is not None and open_at(condition.windows, condition.weekday_timezone, given.at)


def _in_place(condition: Condition, given: Circumstances) -> bool:
    if condition.endpoint is not None and given.vertex_location in (None, "global"):
        return False
    return condition.data_residency in (None, given.data_residency) and condition.inference_geo in (
        None,
        given.inference_geo,
    )
