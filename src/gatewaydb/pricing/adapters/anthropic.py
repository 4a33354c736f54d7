"""What Anthropic's Messages API reports, at Anthropic and on Vertex AI and Bedrock (InvokeModel)."""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewaydb.pricing.adapters.bodies import Part
from gatewaydb.pricing.usage import BillableUsage


def anthropic_usage(response: Mapping[str, Any]) -> BillableUsage:
    """The usage of a message body. The events of a stream become one with `anthropic_message_of`.

    `input_tokens` there is what was neither read from the cache nor written to it, so the three are added. What a
    compaction used is not in the message's own counts and is added, too; what an advisor used is billed at another
    model's prices and is a `tool_calls` of its own.
    InvalidValueError, naming the field, where the usage is missing or impossible.
    """
    usage = Part.of(response).inner("message").required("usage")
    usage.expect_any("input_tokens", "output_tokens")
    rounds = usage.parts("iterations")
    billed = [usage, *(each for each in rounds if each.text("type") == "compaction")]
    read = sum(each.count("cache_read_input_tokens") for each in billed)
    written = sum(map(_written, billed))
    advice = sum(each.text("type") == "advisor_message" for each in rounds)
    return BillableUsage(
        input_tokens=sum(each.count("input_tokens") for each in billed) + read + written,
        output_tokens=sum(each.count("output_tokens") for each in billed),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(map(_written_for_1h, billed)),
        reasoning_tokens=usage.part("output_tokens_details").count("thinking_tokens"),
        web_searches=usage.part("server_tool_use").count("web_search_requests"),
        tool_calls={"advisor": advice} if advice else None,
        service_tier=usage.text("service_tier"),
        inference_geo=usage.text("inference_geo"),
        speed=usage.text("speed"),
    )


def anthropic_message_of(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The message body that a stream's decoded events amount to, as far as its usage goes.

    `message_start` says what was sent, each `message_delta` how much it has become by then: later counts replace
    earlier ones. Other events may be left in. A stream that broke off gives what it had reported.
    """
    usage: dict[str, Any] = {}
    for event in map(Part.of, events):
        if event.text("type") in ("message_start", "message_delta"):
            usage.update(event.inner("message").part("usage").items())
    return {"usage": usage}


def _written(usage: Part) -> int:
    if usage.has("cache_creation_input_tokens"):
        return usage.count("cache_creation_input_tokens")
    return usage.part("cache_creation").count("ephemeral_5m_input_tokens") + _written_for_1h(usage)


def _written_for_1h(usage: Part) -> int:
    return usage.part("cache_creation").count("ephemeral_1h_input_tokens")
