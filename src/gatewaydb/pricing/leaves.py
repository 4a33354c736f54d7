"""A usage taken apart into what is billed, each with the prices that may serve it.

Inclusive counts are split into leaves that do not overlap:

    text input  = input - cache reads - cache writes - audio, image and video that was not cached
    text output = output - reasoning - audio - image - video
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from gatewaydb.pricing.usage import BillableUsage, has_other_counts

Slot = tuple[str, str, str, str]
"""Direction, modality, kind (a cache write's with its lifetime) and unit of a price."""


Rule = Literal["first", "any", "tiers", "specific", "nonzero"]


class Stage(NamedTuple):
    """Slots that compete for one leaf; the next stage is asked only if none of them has a price.

    first: the first slot that has a price.
    any: the same, and each slot is as good.
    tiers: the first, but a row of the tier table in force wins over a flat price: a request never mixes them.
    specific: the price under the most specific condition, as for reasoning when only output has its tier's price.
    nonzero: for a count that either direction may bill, the direction that is not free.
    """

    slots: tuple[Slot, ...]
    rule: Rule = "first"
    assumed: str = ""


class Billing(NamedTuple):
    """Where a leaf's price comes from. Twins are token leaves that measure the same thing in tokens: only
    one of the two is billed. The count `yields` to twins that have a price of their own, or replaces them."""

    stages: tuple[Stage, ...]
    twins: tuple[str, ...] = ()
    yields: bool = False


class Leaf(NamedTuple):
    """A count to bill."""

    item: str
    quantity: int | Decimal
    billing: Billing
    assumed: str = ""
    search_context_size: str | None = None


def _stage(*slots: str, rule: Rule = "first", assumed: str = "") -> Stage:
    named = (slot.split("/") for slot in slots)
    return Stage(tuple((direction, modality, kind, unit) for direction, modality, kind, unit in named), rule, assumed)


def _one(slot: str, *twins: str) -> Billing:
    return Billing((_stage(slot),), twins)


_INPUT = _stage("input/any/plain/token")
_OUTPUT = _stage("output/any/plain/token")
_READ = _stage("input/any/cache_read/token", "input/any/plain/token", rule="tiers")
_WRITE = _stage("input/any/cache_write/token", "input/any/plain/token", rule="tiers")
_IMAGE_OUTPUT = _stage("output/image/plain/token", assumed="all output is images: nothing else has an output price")

BILLINGS: Mapping[str, Billing] = {
    "text_input_tokens": Billing((_INPUT,)),
    "cache_read_tokens": Billing((_READ,)),
    "cache_read_audio_tokens": Billing((_stage("input/audio/cache_read/token"), _READ)),
    "cache_read_image_tokens": Billing((_stage("input/image/cache_read/token"), _READ)),
    "explicit_cache_read_tokens": Billing((_stage("input/any/cache_read_explicit/token"), _READ)),
    "cache_write_tokens": Billing((_WRITE,)),
    "cache_write_1h_tokens": Billing(
        (_stage("input/any/cache_write 1h/token", *map("/".join, _WRITE.slots), rule="tiers"),)
    ),
    "cache_write_12h_tokens": Billing(
        (_stage("input/any/cache_write 12h/token", *map("/".join, _WRITE.slots), rule="tiers"),)
    ),
    "cache_write_audio_tokens": Billing((_stage("input/audio/cache_write/token"), _WRITE)),
    "audio_input_tokens": Billing((_stage("input/audio/plain/token"), _INPUT)),
    "image_input_tokens": Billing((_stage("input/image/plain/token"), _INPUT)),
    "video_input_tokens": Billing((_stage("input/video/plain/token"), _INPUT)),
    "text_output_tokens": Billing((_OUTPUT, _IMAGE_OUTPUT)),
    "reasoning_tokens": Billing(
        (_stage("output/text/reasoning/token", "output/any/plain/token", rule="specific"), _IMAGE_OUTPUT)
    ),
    "audio_output_tokens": Billing((_stage("output/audio/plain/token"), _OUTPUT, _IMAGE_OUTPUT)),
    "image_output_tokens": Billing((_stage("output/image/plain/token"), _OUTPUT)),
    "video_output_tokens": Billing((_stage("output/video/plain/token"), _OUTPUT, _IMAGE_OUTPUT)),
    "citation_tokens": _one("input/text/citation/token"),
    "images": Billing(
        (_stage("output/image/plain/image"), _stage("input/image/plain/image")), ("image_output_tokens",), yields=True
    ),
    "input_images": _one("input/image/plain/image", "image_input_tokens"),
    "pixels": Billing((_stage("output/image/plain/pixel", "input/image/plain/pixel", rule="nonzero"),)),
    "characters": _one("input/text/plain/character", "text_input_tokens"),
    "output_characters": _one("output/text/plain/character", "text_output_tokens"),
    "seconds": Billing(
        (
            _stage("output/any/plain/second", "input/any/plain/second", rule="nonzero"),
            _stage("output/video/plain/second"),
        ),
        ("text_input_tokens", "audio_input_tokens", "text_output_tokens", "audio_output_tokens"),
        yields=True,
    ),
    "audio_input_seconds": Billing(
        (_stage("input/audio/plain/second"), _stage("input/any/plain/second")), ("audio_input_tokens",)
    ),
    "video_input_seconds": Billing(
        (_stage("input/video/plain/second"), _stage("input/any/plain/second")), ("video_input_tokens",)
    ),
    "capacity_seconds": _one("none/any/capacity/second"),
    "pages": _one("input/document/plain/page"),
    "annotation_pages": _one("input/document/annotation/page"),
    "credits": _one("input/document/plain/credit"),
    "queries": _one("input/any/plain/query"),
    "requests": _one("none/any/plain/request"),
    "messages": _one("input/text/plain/message"),
}
_OTHER_COUNTS = ("citation_tokens", *(item for item in BILLINGS if not item.endswith("_tokens")))
_TOOL_UNITS = ("call", "session", "unit", "gb_day")


def leaves_of(usage: BillableUsage, free: Mapping[str, int]) -> Iterator[Leaf]:
    """Every leaf with a count; `free` are tool calls, by tool, that an allowance still covers."""
    yield from _input_leaves(usage)
    yield from _output_leaves(usage)
    if has_other_counts(usage):
        yield from _counted(*((item, getattr(usage, item)) for item in _OTHER_COUNTS))
        yield from _tool_leaves(usage, dict(free))


def _input_leaves(usage: BillableUsage) -> Iterator[Leaf]:
    read, write = usage.cache_read_tokens, usage.cache_write_tokens
    room = usage.input_tokens - read - write
    media, assumed = _media(usage, room)
    yield from _counted(("text_input_tokens", room - sum(count for _, count in media)))
    yield from _counted(*media, assumed=assumed)
    if read:
        audio, image, explicit = (
            usage.cache_read_audio_tokens,
            usage.cache_read_image_tokens,
            usage.explicit_cache_read_tokens,
        )
        yield from _counted(
            ("cache_read_tokens", read - audio - image - explicit),
            ("cache_read_audio_tokens", audio),
            ("cache_read_image_tokens", image),
            ("explicit_cache_read_tokens", explicit),
        )
    if write:
        hour, half_day, audio = (
            usage.cache_write_1h_tokens,
            usage.cache_write_12h_tokens,
            usage.cache_write_audio_tokens,
        )
        yield from _counted(
            ("cache_write_tokens", write - hour - half_day - audio),
            ("cache_write_1h_tokens", hour),
            ("cache_write_12h_tokens", half_day),
            ("cache_write_audio_tokens", audio),
        )


def _media(usage: BillableUsage, room: int) -> tuple[list[tuple[str, int]], str]:
    """Audio, image and video input that was not cached.

    Where a provider does not say how much of it was cached and it cannot all have been new, the least that
    must have been cached is taken off: a token is never billed twice.
    """
    counts = (
        (
            "audio_input_tokens",
            usage.audio_input_tokens - usage.cache_read_audio_tokens - usage.cache_write_audio_tokens,
        ),
        ("image_input_tokens", usage.image_input_tokens - usage.cache_read_image_tokens),
        ("video_input_tokens", usage.video_input_tokens),
    )
    fitting = []
    for item, count in counts:
        fitting.append((item, min(count, room)))
        room -= fitting[-1][1]
    return fitting, "" if tuple(fitting) == counts else "what does not fit beside the cached tokens was cached"


def _output_leaves(usage: BillableUsage) -> Iterator[Leaf]:
    reasoning, audio, image, video = (
        usage.reasoning_tokens,
        usage.audio_output_tokens,
        usage.image_output_tokens,
        usage.video_output_tokens,
    )
    yield from _counted(
        ("text_output_tokens", usage.output_tokens - reasoning - audio - image - video),
        ("reasoning_tokens", reasoning),
        ("audio_output_tokens", audio),
        ("image_output_tokens", image),
        ("video_output_tokens", video),
    )


def _counted(*counts: tuple[str, int | Decimal], assumed: str = "") -> Iterator[Leaf]:
    for item, count in counts:
        if count:
            yield Leaf(item, count, BILLINGS[item], assumed)


def _tool_leaves(usage: BillableUsage, free: dict[str, int]) -> Iterator[Leaf]:
    searches = usage.web_searches
    for size, count in searches.items() if isinstance(searches, Mapping) else (("", searches),):
        if billed := _beyond(free, "web_search", count):
            item = f"web_searches[{size}]" if size else "web_searches"
            yield Leaf(item, billed, _tool("tool:web_search"), search_context_size=size or None)
    for tool, count in (usage.tool_calls or {}).items():
        if billed := _beyond(free, tool, count):
            yield Leaf(f"tool_calls[{tool}]", billed, _tool(tool if ":" in tool else f"tool:{tool}"))


def _beyond(free: dict[str, int], tool: str, count: int) -> int:
    covered = min(count, free.get(tool, 0))
    free[tool] = free.get(tool, 0) - covered
    return count - covered


def _tool(kind: str) -> Billing:
    return Billing((_stage(*(f"none/any/{kind}/{unit}" for unit in _TOOL_UNITS), rule="any"),))
