"""What OpenAI's responses report, and those of services that speak as OpenAI does."""

from collections.abc import Mapping
from typing import Any

from gatewaydb.pricing.adapters.bodies import Part
from gatewaydb.pricing.usage import BillableUsage

_IMAGE_EVENTS = ("image_generation.completed", "image_edit.completed")


def openai_usage(response: Mapping[str, Any]) -> BillableUsage:
    """The usage of a chat completion, response (Responses API), embedding, transcription or image body.

    Of a stream, the chunk or event that holds the usage: the last one of `include_usage`, `response.completed`,
    `transcript.text.done`, `image_generation.completed`.

    Counts are inclusive as they come. Images that are made without `usage` count as images. The Responses API's
    searches are its completed `web_search_call` items whose action is a search; opening a page is free. A chat
    completion that cites pages has searched once. File searches, code interpreter containers (billed by session:
    each container counts once a response) and images that a tool made are `tool_calls`.
    InvalidValueError, naming the field, where the usage is missing or impossible.
    """
    body = Part.of(response).inner("response")
    images = _images_made(body)
    if images and not body.has("usage"):
        return BillableUsage(images=images)
    usage = body.required("usage")
    if usage.text("type") == "duration":
        usage.expect_any("seconds")
        return BillableUsage(seconds=usage.amount("seconds"))
    counts = token_counts(usage)
    if images and not usage.has("output_tokens_details"):
        counts["image_output_tokens"] = counts["output_tokens"]
    return BillableUsage(
        **counts,
        images=images,
        web_searches=_web_searches(body),
        tool_calls=_tool_calls(body) or None,
        service_tier=body.text("service_tier"),
    )


def token_counts(usage: Part) -> dict[str, Any]:
    """The token counts of a `usage` object under any of the names that OpenAI's interfaces have for them."""
    usage.expect_any("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
    sent = usage.part("prompt_tokens_details", "input_tokens_details", "input_token_details")
    made = usage.part("completion_tokens_details", "output_tokens_details", "output_token_details")
    cached = sent.part("cached_tokens_details")
    return {
        "input_tokens": usage.count("prompt_tokens", "input_tokens"),
        "output_tokens": usage.count("completion_tokens", "output_tokens"),
        "cache_read_tokens": sent.count("cached_tokens"),
        "cache_read_audio_tokens": cached.count("audio_tokens"),
        "cache_read_image_tokens": cached.count("image_tokens"),
        "cache_write_tokens": sent.count("cache_write_tokens"),
        "cache_write_12h_tokens": sent.part("cache_write_tokens_details").count("ttl_12h_tokens"),
        "audio_input_tokens": sent.count("audio_tokens"),
        "image_input_tokens": sent.count("image_tokens"),
        "reasoning_tokens": made.count("reasoning_tokens"),
        "audio_output_tokens": made.count("audio_tokens"),
        "image_output_tokens": made.count("image_tokens"),
    }


def _images_made(body: Part) -> int:
    if body.text("type") in _IMAGE_EVENTS:
        return 1
    return sum(item.has("b64_json") or item.has("url") for item in body.parts("data"))


def _web_searches(body: Part) -> int | dict[str, int]:
    counted = body.part("tool_usage").part("web_search")
    calls = [
        item for item in _completed(body, "web_search_call") if item.part("action").text("type") in (None, "search")
    ]
    searches = counted.count("num_requests") if counted.has("num_requests") else len(calls) or _cites_pages(body)
    sizes = (tool.text("search_context_size") for tool in body.parts("tools"))
    size = next(filter(None, sizes), None)
    return {size: searches} if size and searches else searches


def _cites_pages(body: Part) -> int:
    messages = (choice.part("message") for choice in body.parts("choices"))
    notes = (note for message in messages for note in message.parts("annotations"))
    return int(any(note.text("type") == "url_citation" for note in notes))


def _tool_calls(body: Part) -> dict[str, int]:
    counts = {
        "file_search": len(_completed(body, "file_search_call")),
        "code_interpreter": len({item.text("container_id") for item in _completed(body, "code_interpreter_call")}),
        "image_generation": len(_completed(body, "image_generation_call")),
    }
    return {tool: count for tool, count in counts.items() if count}


def _completed(body: Part, kind: str) -> list[Part]:
    items = (item for item in body.parts("output") if item.text("type") == kind)
    return [item for item in items if item.text("status") in (None, "completed")]
