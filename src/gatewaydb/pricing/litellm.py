"""The grammar of LiteLLM's price fields, both ways.

    base[_above_1hr|_above_12hr][_above_Nk_tokens|_above_Ns_interval][_mode][_resolution]

It reads every flat price field of LiteLLM's catalog; tables are in `entries`.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from gatewaydb.pricing.components import Condition, Direction, Modality, PriceComponent


class Base(NamedTuple):
    """What a field prices, before its suffixes."""

    direction: Direction
    modality: Modality
    kind: str
    unit: str
    per: int = 1
    currency: str = "USD"


BASES: dict[str, Base] = {
    "input_cost_per_token": Base("input", "any", "plain", "token"),
    "output_cost_per_token": Base("output", "any", "plain", "token"),
    "input_dbu_cost_per_token": Base("input", "any", "plain", "token", 1, "DBU"),
    "output_dbu_cost_per_token": Base("output", "any", "plain", "token", 1, "DBU"),
    "cache_read_input_token_cost": Base("input", "any", "cache_read", "token"),
    "cache_read_input_audio_token_cost": Base("input", "audio", "cache_read", "token"),
    "cache_read_input_image_token_cost": Base("input", "image", "cache_read", "token"),
    "input_cost_per_token_cache_hit": Base("input", "any", "cache_read_alias", "token"),
    "explicit_cache_read_input_token_cost": Base("input", "any", "cache_read_explicit", "token"),
    "cache_creation_input_token_cost": Base("input", "any", "cache_write", "token"),
    "cache_creation_input_audio_token_cost": Base("input", "audio", "cache_write", "token"),
    "output_cost_per_reasoning_token": Base("output", "text", "reasoning", "token"),
    "citation_cost_per_token": Base("input", "text", "citation", "token"),
    "input_cost_per_audio_token": Base("input", "audio", "plain", "token"),
    "output_cost_per_audio_token": Base("output", "audio", "plain", "token"),
    "input_cost_per_image_token": Base("input", "image", "plain", "token"),
    "output_cost_per_image_token": Base("output", "image", "plain", "token"),
    "input_cost_per_video_token": Base("input", "video", "plain", "token"),
    "output_cost_per_video_token": Base("output", "video", "plain", "token"),
    "input_cost_per_character": Base("input", "text", "plain", "character"),
    "output_cost_per_character": Base("output", "text", "plain", "character"),
    "input_cost_per_text_message": Base("input", "text", "plain", "message"),
    "input_cost_per_image": Base("input", "image", "plain", "image"),
    "output_cost_per_image": Base("output", "image", "plain", "image"),
    "input_cost_per_pixel": Base("input", "image", "plain", "pixel"),
    "output_cost_per_pixel": Base("output", "image", "plain", "pixel"),
    "input_cost_per_second": Base("input", "any", "plain", "second"),
    "output_cost_per_second": Base("output", "any", "plain", "second"),
    "input_cost_per_audio_per_second": Base("input", "audio", "plain", "second"),
    "input_cost_per_video_per_second": Base("input", "video", "plain", "second"),
    "output_cost_per_video_per_second": Base("output", "video", "plain", "second"),
    "cost_per_second": Base("none", "any", "capacity", "second"),
    "input_cost_per_query": Base("input", "any", "plain", "query"),
    "input_cost_per_request": Base("none", "any", "plain", "request"),
    "ocr_cost_per_page": Base("input", "document", "plain", "page"),
    "ocr_cost_per_credit": Base("input", "document", "plain", "credit"),
    "annotation_cost_per_page": Base("input", "document", "annotation", "page"),
    "google_maps_grounding_cost_per_query": Base("none", "any", "tool:maps", "call"),
    "code_interpreter_cost_per_session": Base("none", "any", "tool:code_interpreter", "session"),
    "computer_use_input_cost_per_1k_tokens": Base("input", "any", "tool:computer_use", "token", 1000),
    "computer_use_output_cost_per_1k_tokens": Base("output", "any", "tool:computer_use", "token", 1000),
    "file_search_cost_per_1k_calls": Base("none", "any", "tool:file_search", "call", 1000),
    "file_search_cost_per_gb_per_day": Base("none", "any", "storage:file_search", "gb_day"),
    "vector_store_cost_per_gb_per_day": Base("none", "any", "storage:vector_store", "gb_day"),
}
_FIELD_OF_BASE = {base: field for field, base in BASES.items()}

_MODES = {"batches": "batch"} | {mode: mode for mode in ("priority", "flex", "balanced", "ultrafast", "decisions")}
_SUFFIX_OF_MODE = {mode: suffix for suffix, mode in _MODES.items()}

_FIELD = re.compile(
    r"(?P<base>.+?)"
    r"(?:_above_(?P<ttl>1|12)hr)?"
    r"(?:_above_(?P<tokens>\d+k?)_tokens|_above_(?P<seconds>\d+)s_interval)?"
    rf"(?:_(?P<mode>{'|'.join(_MODES)}))?"
    r"(?:_(?P<resolution>\d+p|\d+(?:\.\d+)?[kK]|\d{3,4}))?",
    re.ASCII,
)


@lru_cache(maxsize=1024)
def parse_field(field: str, *, inclusive: bool = False) -> tuple[Base, Condition] | None:
    """What a flat field prices and when, or None if it is no price field.

    `inclusive`: token thresholds hold at their number, too (xAI bills so), not only above it.
    """
    match = _FIELD.fullmatch(field)
    if match is None or (base := BASES.get(match["base"])) is None:
        return None
    ttl, mode, seconds = match["ttl"], match["mode"], match["seconds"]
    tokens = _token_count(match["tokens"])
    return base, Condition(
        cache_ttl=f"{ttl}h" if ttl else None,
        input_tokens_gt=None if inclusive else tokens,
        input_tokens_ge=tokens if inclusive else None,
        segment_seconds_gt=int(seconds) if seconds else None,
        mode=_MODES[mode] if mode else None,
        resolution=match["resolution"],
    )


def field_of(component: PriceComponent) -> str:
    """The flat field that holds such a component: the way back of `parse_field`. KeyError if there is none."""
    key = Base(
        component.direction, component.modality, component.kind, component.unit, component.per, component.currency
    )
    return _FIELD_OF_BASE[key] + "".join(_suffixes(component.condition))


def _suffixes(condition: Condition) -> list[str]:
    tokens = condition.input_tokens_ge if condition.input_tokens_gt is None else condition.input_tokens_gt
    suffixes = []
    if condition.cache_ttl:
        suffixes.append(f"_above_{condition.cache_ttl}r")
    if tokens is not None:
        suffixes.append(f"_above_{_token_text(tokens)}_tokens")
    if condition.segment_seconds_gt is not None:
        suffixes.append(f"_above_{condition.segment_seconds_gt}s_interval")
    if condition.mode:
        suffixes.append(f"_{_SUFFIX_OF_MODE[condition.mode]}")
    if condition.resolution:
        suffixes.append(f"_{condition.resolution}")
    return suffixes


def _token_count(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text[:-1]) * 1000 if text.endswith("k") else int(text)


def _token_text(tokens: int) -> str:
    return str(tokens) if tokens % 1000 else f"{tokens // 1000}k"
