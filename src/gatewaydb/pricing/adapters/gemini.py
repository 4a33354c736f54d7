"""What Gemini's generateContent reports, at Google AI Studio and on Vertex AI."""

import re
from collections.abc import Mapping
from typing import Any

from gatewaydb.pricing.adapters.bodies import Part
from gatewaydb.pricing.usage import BillableUsage

_GENERATION = re.compile(r"gemini-(\d{1,3})", re.ASCII)
_UNSPECIFIED = ("unspecified", "traffic_type_unspecified")


def gemini_usage(response: Mapping[str, Any]) -> BillableUsage:
    """The usage of a generateContent body; of a stream, its last chunk.

    Output is candidates and thoughts (unless the total shows that the candidates contain them). What tools put into
    the prompt is input, but for Google Search and Maps, which are billed by the prompt up to Gemini 2.5 and by the
    query from Gemini 3 on (`modelVersion` tells). Documents are billed as text.
    InvalidValueError, naming the field, where the usage is missing or impossible.
    """
    body = Part.of(response)
    usage = body.required("usageMetadata")
    usage.expect_any("promptTokenCount", "candidatesTokenCount", "responseTokenCount")
    searches, lookups = _grounding(body)
    details, from_tools = usage.parts("promptTokensDetails"), usage.count("toolUsePromptTokenCount")
    sent, made = usage.count("promptTokenCount"), usage.count("candidatesTokenCount", "responseTokenCount")
    thoughts = usage.count("thoughtsTokenCount")
    counted_in = usage.count("totalTokenCount") == sent + made + from_tools
    if not searches and not lookups:
        sent += from_tools
        details += usage.parts("toolUsePromptTokensDetails")
    cached, results = usage.parts("cacheTokensDetails"), usage.parts("candidatesTokensDetails")
    results = results or usage.parts("responseTokensDetails")
    return BillableUsage(
        input_tokens=sent,
        output_tokens=made if counted_in else made + thoughts,
        cache_read_tokens=usage.count("cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        audio_input_tokens=_tokens_of("AUDIO", details),
        audio_output_tokens=_tokens_of("AUDIO", results),
        image_input_tokens=_tokens_of("IMAGE", details),
        image_output_tokens=_tokens_of("IMAGE", results),
        video_input_tokens=_tokens_of("VIDEO", details),
        video_output_tokens=_tokens_of("VIDEO", results),
        cache_read_audio_tokens=_tokens_of("AUDIO", cached),
        cache_read_image_tokens=_tokens_of("IMAGE", cached),
        web_searches=searches,
        tool_calls={"maps": lookups} if lookups else None,
        service_tier=_service_tier(usage),
    )


def _tokens_of(modality: str, details: list[Part]) -> int:
    return sum(detail.count("tokenCount") for detail in details if detail.text("modality") == modality)


def _grounding(body: Part) -> tuple[int, int]:
    """Billable Google searches and Maps look-ups. The same query twice is billed once."""
    searches: set[str] = set()
    lookups: set[str] = set()
    used_maps = False
    for candidate in body.parts("candidates"):
        grounding = candidate.part("groundingMetadata")
        chunks = grounding.parts("groundingChunks")
        on_maps = any(chunk.has("maps") for chunk in chunks)
        used_maps = used_maps or on_maps
        asked = lookups if on_maps and not any(chunk.has("web") for chunk in chunks) else searches
        asked.update(filter(None, grounding.texts("webSearchQueries")))
    if _bills_by_query(body):
        return len(searches), max(len(lookups), int(used_maps))
    return int(bool(searches)), int(used_maps)


def _bills_by_query(body: Part) -> bool:
    generation = _GENERATION.search(body.text("modelVersion") or "")
    return generation is not None and int(generation[1]) >= 3


def _service_tier(usage: Part) -> str | None:
    """Google AI Studio names it `serviceTier`; Vertex AI has it in `trafficType`, as `ON_DEMAND_FLEX`."""
    tier = usage.text("serviceTier") or usage.text("trafficType") or ""
    return None if tier.lower() in _UNSPECIFIED else tier.lower().removeprefix("on_demand_") or None
