"""What a request used, and under which circumstances, as the options of `models cost`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gatewaydb import BillableUsage
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.values import Whole, number, pairs

_TOKENS = Group("Tokens, each count with its parts", sort_key=50)
_COUNTS = Group("Other counts", sort_key=51)
_CIRCUMSTANCES = Group("Circumstances", sort_key=52)


def _in(group: Group, option: str, meaning: str) -> Parameter:
    return Parameter(name=f"--{option}", group=group, show_default=False, help=meaning)


def _fraction(option: str, meaning: str) -> Parameter:
    return Parameter.combine(_in(_COUNTS, option, meaning), Parameter(converter=number))


@Parameter(name="*")
@dataclass(frozen=True)
class Tokens:
    """Counts of tokens. The fields are those of BillableUsage."""

    input_tokens: Annotated[Whole, _in(_TOKENS, "input", "Input, all of it.")] = 0
    output_tokens: Annotated[Whole, _in(_TOKENS, "output", "Output, all of it.")] = 0
    cache_read_tokens: Annotated[Whole, _in(_TOKENS, "cache-read", "Input read from the provider's cache.")] = 0
    cache_write_tokens: Annotated[Whole, _in(_TOKENS, "cache-write", "Input written to it.")] = 0
    cache_write_1h_tokens: Annotated[Whole, _in(_TOKENS, "cache-write-1h", "Of those, for 1 h.")] = 0
    cache_write_12h_tokens: Annotated[Whole, _in(_TOKENS, "cache-write-12h", "Of those, for 12 h.")] = 0
    reasoning_tokens: Annotated[Whole, _in(_TOKENS, "reasoning", "Output of reasoning.")] = 0
    audio_input_tokens: Annotated[Whole, _in(_TOKENS, "audio-input", "Input of audio.")] = 0
    audio_output_tokens: Annotated[Whole, _in(_TOKENS, "audio-output", "Output of audio.")] = 0
    image_input_tokens: Annotated[Whole, _in(_TOKENS, "image-input", "Input of images.")] = 0
    image_output_tokens: Annotated[Whole, _in(_TOKENS, "image-output", "Output of images.")] = 0
    video_input_tokens: Annotated[Whole, _in(_TOKENS, "video-input", "Input of video.")] = 0
    video_output_tokens: Annotated[Whole, _in(_TOKENS, "video-output", "Output of video.")] = 0
    cache_read_audio_tokens: Annotated[Whole, _in(_TOKENS, "cache-read-audio", "Cached input of audio.")] = 0
    cache_read_image_tokens: Annotated[Whole, _in(_TOKENS, "cache-read-image", "Cached input of images.")] = 0
    cache_write_audio_tokens: Annotated[Whole, _in(_TOKENS, "cache-write-audio", "Audio written to the cache.")] = 0
    explicit_cache_read_tokens: Annotated[
        Whole, _in(_TOKENS, "explicit-cache-read", "Of the cached input, from a cache that was made on purpose.")
    ] = 0
    citation_tokens: Annotated[Whole, _in(_TOKENS, "citation", "Tokens of citations.")] = 0


@Parameter(name="*")
@dataclass(frozen=True)
class OtherCounts:
    """Counts that stand on their own."""

    images: Annotated[Whole, _in(_COUNTS, "images", "Images made.")] = 0
    input_images: Annotated[Whole, _in(_COUNTS, "input-images", "Images sent.")] = 0
    pixels: Annotated[Whole, _in(_COUNTS, "pixels", "Pixels.")] = 0
    characters: Annotated[Whole, _in(_COUNTS, "characters", "Characters sent.")] = 0
    output_characters: Annotated[Whole, _in(_COUNTS, "output-characters", "Characters made.")] = 0
    seconds: Annotated[Decimal, _fraction("seconds", "Seconds, of models billed by duration.")] = Decimal(0)
    audio_input_seconds: Annotated[Decimal, _fraction("audio-seconds", "Seconds of audio sent.")] = Decimal(0)
    video_input_seconds: Annotated[Decimal, _fraction("video-seconds", "Seconds of video sent.")] = Decimal(0)
    capacity_seconds: Annotated[Decimal, _fraction("capacity-seconds", "Seconds of reserved capacity.")] = Decimal(0)
    pages: Annotated[Whole, _in(_COUNTS, "pages", "Pages read.")] = 0
    annotation_pages: Annotated[Whole, _in(_COUNTS, "annotation-pages", "Pages annotated.")] = 0
    credits: Annotated[Decimal, _fraction("credits", "Credits.")] = Decimal(0)
    queries: Annotated[Whole, _in(_COUNTS, "queries", "Queries.")] = 0
    requests: Annotated[Whole, _in(_COUNTS, "requests", "Requests, of models billed by them.")] = 0
    messages: Annotated[Whole, _in(_COUNTS, "messages", "Text messages.")] = 0
    web_searches: Annotated[Whole, _in(_COUNTS, "web-searches", "Web searches.")] = 0
    tool_calls: Annotated[
        tuple[str, ...] | None, _in(_COUNTS, "tool-calls", "TOOL=COUNT, as in code_interpreter=1; several times.")
    ] = None


@Parameter(name="*")
@dataclass(frozen=True)
class Circumstances:
    """What a price may depend on beside the counts. The fields are the context of `cost_of`."""

    resolution: Annotated[str | None, _in(_CIRCUMSTANCES, "resolution", "720p, 2K, ...")] = None
    segment_seconds: Annotated[Whole | None, _in(_CIRCUMSTANCES, "segment-seconds", "Length of a segment.")] = None
    max_results: Annotated[Whole | None, _in(_CIRCUMSTANCES, "max-results", "Results asked for.")] = None
    search_context_size: Annotated[
        str | None, _in(_CIRCUMSTANCES, "search-context-size", "Of web searches: low, medium, high.")
    ] = None
    data_residency: Annotated[str | None, _in(_CIRCUMSTANCES, "data-residency", "eu, us.")] = None
    vertex_location: Annotated[str | None, _in(_CIRCUMSTANCES, "vertex-location", "global, europe-west4, ...")] = None
    inference_geo: Annotated[str | None, _in(_CIRCUMSTANCES, "inference-geo", "us, ...")] = None
    speed: Annotated[str | None, _in(_CIRCUMSTANCES, "speed", "fast.")] = None
    call_type: Annotated[str | None, _in(_CIRCUMSTANCES, "call-type", "decisions.")] = None


def billable_usage(tokens: Tokens, counts: OtherCounts) -> BillableUsage:
    """The usage that the options name. Raises InvalidValueError, UsageError."""
    others: dict[str, Any] = asdict(counts)
    tools = _tool_calls(counts.tool_calls) if counts.tool_calls else None
    return BillableUsage(**asdict(tokens), **others | {"tool_calls": tools})


def _tool_calls(texts: tuple[str, ...]) -> Mapping[str, int]:
    found = pairs("--tool-calls", texts)
    for tool, count in found.items():
        if not count.isdecimal():
            raise UsageError(f"--tool-calls: {count!r} is no number of calls of {tool}")
    return {tool: int(count) for tool, count in found.items()}


NO_TOKENS = Tokens()
NO_COUNTS = OtherCounts()
STANDARD = Circumstances()
