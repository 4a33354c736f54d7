"""What Cohere's responses report."""

from collections.abc import Mapping
from typing import Any

from gatewaydb.pricing.adapters.bodies import Part
from gatewaydb.pricing.usage import BillableUsage


def cohere_usage(response: Mapping[str, Any]) -> BillableUsage:
    """The usage of a chat (v1 and v2), embed, rerank, classify or parse body; of a stream, its last event.

    What is billed is `billed_units`; `tokens`, which also count Cohere's own preamble, serve only where there is no
    such field. Search units are `queries`. `cached_tokens` is a part of `tokens` and not of what is billed: it is
    left out.
    InvalidValueError, naming the field, where the usage is missing or impossible.
    """
    body = Part.of(response).inner("response").inner("delta")
    usage = body.part("meta") if body.has("meta") else body.required("usage")
    usage.expect_any("billed_units", "tokens")
    billed = usage.part("billed_units", "tokens")
    billed.expect_any(
        "input_tokens", "output_tokens", "image_tokens", "images", "search_units", "classifications", "pages"
    )
    image_tokens, classifications = billed.count("image_tokens"), billed.count("classifications")
    return BillableUsage(
        input_tokens=billed.count("input_tokens") + image_tokens,
        output_tokens=billed.count("output_tokens"),
        image_input_tokens=image_tokens,
        input_images=billed.count("images"),
        queries=billed.count("search_units"),
        pages=billed.count("pages"),
        tool_calls={"classification": classifications} if classifications else None,
    )
