"""The price component: one price, for one thing, under one condition.

A model's prices are a set of these. They are rows in the database (the condition as JSON text) and
compiled once per model into what the calculator reads.
"""

from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import Any, Literal

import msgspec
from msgspec.structs import astuple, force_setattr

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.literals import EXACT, check_price

Direction = Literal["input", "output", "none"]
Modality = Literal["any", "text", "audio", "image", "video", "document"]
Combine = Literal["replace", "multiply"]
Origin = Literal["catalog", "operator"]


class Window(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Hours of the day in UTC, each `HH:MM-HH:MM` (`00:00-00:00`: all day), on weekdays (1 is Monday) or every day."""

    hours: tuple[str, ...]
    weekdays: tuple[int, ...] = ()


class Condition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """When a component holds: every field that is set must be met. The default is: always."""

    mode: str | None = None
    """A service tier (priority, flex, ...), `batch`, or `decisions`; without one: standard."""
    input_tokens_gt: int | None = None
    input_tokens_ge: int | None = None
    input_tokens_range: tuple[int, int] | None = None
    """A row of a tier table: above the first, up to and with the second; the last row has no top."""
    windows: tuple[Window, ...] = ()
    weekday_timezone: str | None = None
    """Whose calendar the windows' weekdays are read on; UTC without one."""
    cache_ttl: str | None = None
    resolution: str | None = None
    segment_seconds_gt: int | None = None
    max_results_range: tuple[int, int] | None = None
    """Both ends belong to it."""
    search_context_size: str | None = None
    data_residency: str | None = None
    endpoint: str | None = None
    """`regional`: any Vertex AI location but `global`."""
    inference_geo: str | None = None
    speed: str | None = None


ALWAYS = Condition()


class PriceComponent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One price. Equal text and equal conditions are shared between components, which keeps a model small.

    `price` is for `per` units, in `currency`; `literal` is the source's own number text and `source_field`
    the field it stood in (empty where the price follows from another by a provider's documented rule).
    `kind` is plain, cache_read, cache_read_explicit, cache_read_alias, cache_write, reasoning, citation,
    annotation, capacity, multiplier, or tool:..., storage:..., guardrail:... with a name. `version` is the version
    of the model's prices that it came with (0: not stored yet), `ended_version` the one that is without it (0: none).
    Of two prices for the same thing under the same
    condition the one whose `origin` is the operator holds, then the newer one.
    InvalidValueError for a price that is negative or not finite, and for a naive time.
    """

    direction: Direction
    modality: Modality
    kind: str
    unit: str
    per: int = 1
    price: Decimal
    literal: str
    currency: str = "USD"
    combine: Combine = "replace"
    condition: Condition = ALWAYS
    source_field: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    version: int = 0
    ended_version: int = 0
    origin: Origin = "catalog"

    def __post_init__(self) -> None:
        check_price(self.price, self.source_field or self.kind)
        for field in ("valid_from", "valid_until"):
            moment = getattr(self, field)
            if moment is not None and moment.tzinfo is None:
                raise InvalidValueError(f"{field} must have a time zone, not {moment!r}")
        for field in _TEXTS:
            force_setattr(self, field, intern(getattr(self, field)))
        force_setattr(self, "condition", _shared(self.condition))

    @property
    def rate(self) -> Decimal:
        """The price of one unit; exact, as `per` is a power of ten."""
        return self.price if self.per == 1 else EXACT.divide(self.price, self.per)

    @property
    def subject(self) -> tuple[Any, ...]:
        """What it is a price for, and under which condition: of one subject, one price holds at a time."""
        return self.direction, self.modality, self.kind, self.unit, self.currency, self.combine, self.condition

    @property
    def terms(self) -> tuple[Any, ...]:
        """What it says, apart from when that holds: two components of equal terms are the same price."""
        return astuple(self)[:_TERMS]

    def valid_at(self, at: datetime) -> bool:
        """Whether this is the price of that moment; `valid_until` is the first moment when it no longer is."""
        return (self.valid_from is None or self.valid_from <= at) and (
            self.valid_until is None or at < self.valid_until
        )


_TEXTS = ("direction", "modality", "kind", "unit", "literal", "currency", "combine", "source_field", "origin")
_TERMS = PriceComponent.__struct_fields__.index("valid_from")


@lru_cache(maxsize=4096)
def _shared(condition: Condition) -> Condition:
    return condition


@lru_cache(maxsize=4096)
def condition_from_json(text: str) -> Condition:
    """The condition of a table row; InvalidValueError if the text is none."""
    try:
        return msgspec.json.decode(text, type=Condition)
    except msgspec.DecodeError as error:
        raise InvalidValueError(f"not a price condition: {error}") from error


@lru_cache(maxsize=4096)
def condition_to_json(condition: Condition) -> str:
    """Compact JSON text of a condition: `{}` for always."""
    return msgspec.json.encode(condition).decode()
