"""What Bedrock's Converse reports."""

from collections.abc import Mapping
from typing import Any

from gatewaydb.pricing.adapters.bodies import Part
from gatewaydb.pricing.usage import BillableUsage


def bedrock_usage(response: Mapping[str, Any]) -> BillableUsage:
    """The usage of a Converse body, or of the `metadata` event of ConverseStream.

    AWS documents `inputTokens` as what was neither read from the cache nor written to it, so the three are added.
    Some model families count the cached tokens in, which `totalTokens` shows: then they are not added again.
    InvalidValueError, naming the field, where the usage is missing or impossible.
    """
    body = Part.of(response).inner("metadata")
    usage = body.required("usage")
    usage.expect_any("inputTokens", "outputTokens")
    sent, made = usage.count("inputTokens"), usage.count("outputTokens")
    read = usage.count("cacheReadInputTokens", "cacheReadInputTokenCount")
    written = usage.count("cacheWriteInputTokens", "cacheWriteInputTokenCount")
    counted_in = usage.count("totalTokens") == sent + made and read + written <= sent
    return BillableUsage(
        input_tokens=sent if counted_in else sent + read + written,
        output_tokens=made,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(
            write.count("inputTokens") for write in usage.parts("cacheDetails") if write.text("ttl") == "1h"
        ),
        service_tier=body.part("serviceTier").text("type"),
    )
