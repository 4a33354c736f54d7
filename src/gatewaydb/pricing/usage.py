"""What a request used: the counts that a price can be for."""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import astuple, force_setattr

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.literals import decimals_of

COUNT_MAX = 2**63 - 1
"""What a database column holds."""

FRACTION_DECIMALS_MAX = 18
"""Of counts that may have a fraction: seconds and credits."""

_FRACTIONAL = frozenset(("seconds", "audio_input_seconds", "video_input_seconds", "capacity_seconds", "credits"))


class BillableUsage(Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Counts of one request. Token counts are inclusive: a whole contains its parts.

    `input_tokens` contains cache reads and writes, and audio, image and video input; `output_tokens`
    contains reasoning, audio, image and video output; `cache_write_tokens` contains the writes that
    live for 1 h and 12 h; cached audio belongs to `cache_read_tokens` and to `audio_input_tokens`.
    The counts below the tokens stand on their own. Seconds and credits may be Decimal, all else is int.

    `images` are images made, `input_images` images sent; `seconds` is the duration that is billed, of
    whatever the model bills by duration. `web_searches` is a number, or numbers by context size
    (`{"low": 2}`); `tool_calls` numbers by tool (`{"code_interpreter": 1}`, `{"guardrail:contentPolicyUnits": 3}`).
    `service_tier`, `inference_geo` and `speed` are what the response says it was served with.

    InvalidValueError, naming the field, for a part larger than its whole, a bool, a float, NaN or a negative.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_input_tokens: int = 0
    image_output_tokens: int = 0
    video_input_tokens: int = 0
    video_output_tokens: int = 0
    cache_read_audio_tokens: int = 0
    cache_read_image_tokens: int = 0
    cache_write_audio_tokens: int = 0
    explicit_cache_read_tokens: int = 0
    citation_tokens: int = 0
    images: int = 0
    input_images: int = 0
    pixels: int = 0
    characters: int = 0
    output_characters: int = 0
    seconds: int | Decimal = 0
    audio_input_seconds: int | Decimal = 0
    video_input_seconds: int | Decimal = 0
    capacity_seconds: int | Decimal = 0
    pages: int = 0
    annotation_pages: int = 0
    credits: int | Decimal = 0
    queries: int = 0
    requests: int = 0
    messages: int = 0
    web_searches: int | Mapping[str, int] = 0
    tool_calls: Mapping[str, int] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None

    def __post_init__(self) -> None:
        values = astuple(self)
        if list(map(type, values)) != _PLAIN_TYPES:
            self._check_types()
        elif values[2:] == _NOTHING_ELSE and 0 <= values[0] <= COUNT_MAX and 0 <= values[1] <= COUNT_MAX:
            return
        self._check_counts()
        self._check_parts()

    def _check_types(self) -> None:
        if isinstance(self.web_searches, Mapping):
            force_setattr(self, "web_searches", checked_counts("web_searches", self.web_searches))
        if self.tool_calls is not None:
            force_setattr(self, "tool_calls", checked_counts("tool_calls", self.tool_calls))
        for field in _SERVED:
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                raise InvalidValueError(f"{field}: must be text, not {value!r}")

    def _check_counts(self) -> None:
        for field in _COUNTS:
            _check_count(field, getattr(self, field), fractional=field in _FRACTIONAL)
        if not isinstance(self.web_searches, Mapping):
            _check_count("web_searches", self.web_searches)

    def _check_parts(self) -> None:
        for whole, parts in _PARTS:
            total = sum(getattr(self, part) for part in parts)
            if total > getattr(self, whole):
                named = " + ".join(part for part in parts if getattr(self, part))
                raise InvalidValueError(f"{named}: {total} is more than the {getattr(self, whole)} of {whole}")


def checked_counts(field: str, counts: object) -> dict[str, int]:
    """Counts by name, as a dict of one's own; InvalidValueError, naming the field, for anything else."""
    if not isinstance(counts, Mapping) or not all(isinstance(name, str) for name in counts):
        raise InvalidValueError(f"{field}: must be numbers by name, not {counts!r}")
    for name, count in counts.items():
        _check_count(f"{field}[{name!r}]", count)
    return dict(counts)


def _check_count(field: str, count: object, *, fractional: bool = False) -> None:
    if not isinstance(count, (int, Decimal)) or isinstance(count, bool) or not (fractional or isinstance(count, int)):
        raise InvalidValueError(f"{field}: must be a whole number, not {type(count).__name__} {count!r}")
    if isinstance(count, Decimal) and not count.is_finite():
        raise InvalidValueError(f"{field}: must be a number, not {count}")
    if not 0 <= count <= COUNT_MAX:
        raise InvalidValueError(f"{field}: must be 0 to {COUNT_MAX}, not {count}")
    if isinstance(count, Decimal) and decimals_of(count) > FRACTION_DECIMALS_MAX:
        raise InvalidValueError(f"{field}: has more than {FRACTION_DECIMALS_MAX} decimals")


_PARTS = (
    ("input_tokens", ("cache_read_tokens", "cache_write_tokens")),
    ("input_tokens", ("audio_input_tokens", "image_input_tokens", "video_input_tokens")),
    ("output_tokens", ("reasoning_tokens", "audio_output_tokens", "image_output_tokens", "video_output_tokens")),
    ("cache_read_tokens", ("cache_read_audio_tokens", "cache_read_image_tokens", "explicit_cache_read_tokens")),
    ("cache_write_tokens", ("cache_write_1h_tokens", "cache_write_12h_tokens", "cache_write_audio_tokens")),
    ("audio_input_tokens", ("cache_read_audio_tokens", "cache_write_audio_tokens")),
    ("image_input_tokens", ("cache_read_image_tokens",)),
)

_DEFAULTS = BillableUsage.__struct_defaults__
_PLAIN_TYPES = list(map(type, _DEFAULTS))
_NOTHING_ELSE = _DEFAULTS[2:]
_COUNTS = BillableUsage.__struct_fields__[: BillableUsage.__struct_fields__.index("web_searches")]
_SERVED = ("service_tier", "inference_geo", "speed")

_OTHERS = slice(BillableUsage.__struct_fields__.index("citation_tokens"), -len(_SERVED))
_NO_OTHERS = _DEFAULTS[_OTHERS]


def has_other_counts(usage: BillableUsage) -> bool:
    """Whether it has counts that stand on their own, beside input and output tokens and their parts."""
    return astuple(usage)[_OTHERS] != _NO_OTHERS


def is_plain(usage: BillableUsage) -> bool:
    """Whether it is input and output tokens and nothing else."""
    return astuple(usage)[2:] == _NOTHING_ELSE


def served_context(usage: BillableUsage) -> dict[str, str | int | None]:
    """Where and how fast the response says it was served, if it does, in the words of a cost's context."""
    return {field: value for field in ("inference_geo", "speed") if (value := getattr(usage, field)) is not None}
