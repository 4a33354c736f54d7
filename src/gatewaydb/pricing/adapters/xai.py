"""What xAI's responses report."""

from collections.abc import Mapping
from typing import Any

from gatewaydb.pricing.adapters.bodies import Part
from gatewaydb.pricing.adapters.openai import token_counts
from gatewaydb.pricing.usage import BillableUsage

_TOOLS = ("x_search", "code_interpreter", "file_search", "document_search", "image_generation")


def xai_usage(response: Mapping[str, Any]) -> BillableUsage:
    """The usage of a chat completion or response body; of a stream, the chunk or event that holds the usage.

    Chat completions count reasoning beside `completion_tokens`, so it is added, unless the total is prompt and
    completion alone, as in the Responses API. Searches are the calls of the web search tool; where no tools are
    reported, the sources that Live Search used. Other tools that xAI bills by call are `tool_calls`.
    InvalidValueError, naming the field, where the usage is missing or impossible.
    """
    body = Part.of(response).inner("response")
    usage = body.required("usage")
    counts = token_counts(usage)
    if usage.count("total_tokens") != counts["input_tokens"] + counts["output_tokens"]:
        counts["output_tokens"] += counts["reasoning_tokens"]
    tools = usage.part("server_side_tool_usage_details")
    calls = {tool: count for tool in _TOOLS if (count := tools.count(f"{tool}_calls"))}
    reports_tools = usage.has("server_side_tool_usage_details")
    return BillableUsage(
        **counts,
        web_searches=tools.count("web_search_calls") if reports_tools else usage.count("num_sources_used"),
        tool_calls=calls or None,
        service_tier=body.text("service_tier"),
    )
