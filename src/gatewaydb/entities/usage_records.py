"""The usage record: what was called."""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from gatewaydb.config import TEXT_MAX_CHARS
from gatewaydb.entities import checks
from gatewaydb.entities.base import new_id, utc_now
from gatewaydb.entities.frozen import EMPTY
from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Its id and its timestamp are fixed when it is made, so that a replay is the same record.

    `cost_usd` is US dollars, exact to 1e-12; None: unpriced, which is not 0. `total_tokens` is the sum of prompt and
    completion where it is not given. Cached tokens are part of the prompt, reasoning tokens of the completion.
    `request_id` is the caller's own id of the request: the same one from the same key counts once.

    What a later pricing needs: `price_version` is the version of the model's prices that `cost_usd` came from;
    `billable` holds the counts where there are more than the four above; `pricing_context` is what `cost_of` was told
    beside them (service_tier, batch, resolution, ...). `Model.usage_record` fills in all of it.
    """

    api_key_id: UUID
    id: UUID = msgspec.field(default_factory=new_id)
    model_id: UUID | None = None
    provider_id: UUID | None = None
    request_timestamp: datetime = msgspec.field(default_factory=utc_now)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal | None = None
    price_version: int | None = None
    request_id: str | None = None
    model_name: str | None = None
    endpoint: str | None = None
    response_time_ms: int | None = None
    status_code: int | None = None
    error_message: str | None = None
    request_metadata: Mapping[str, Any] = EMPTY
    response_metadata: Mapping[str, Any] = EMPTY
    billable: BillableUsage | None = None
    pricing_context: Mapping[str, Any] = EMPTY

    @property
    def billable_usage(self) -> BillableUsage:
        """What was used, as a cost is calculated from it. Raises InvalidValueError where the counts contradict."""
        return self.billable or BillableUsage(
            input_tokens=self.prompt_tokens,
            output_tokens=self.completion_tokens,
            cache_read_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )

    def checked(self) -> Self:
        """The record as it will be stored. Raises InvalidValueError."""
        return replace(self, **self.checked_fields())

    def checked_fields(self, json_object: Callable[[str, Any], Any] = checks.json_object) -> dict[str, Any]:
        """All fields of `checked()`, by name, with JSON as `json_object` gives it. Raises InvalidValueError."""
        prompt = checks.count("prompt_tokens", self.prompt_tokens)
        completion = checks.count("completion_tokens", self.completion_tokens)
        total = prompt + completion if self.total_tokens is None else self.total_tokens
        return {
            "id": checks.identifier("id", self.id),
            "api_key_id": checks.identifier("api_key_id", self.api_key_id),
            "model_id": checks.optional_identifier("model_id", self.model_id),
            "provider_id": checks.optional_identifier("provider_id", self.provider_id),
            "request_timestamp": checks.instant("request_timestamp", self.request_timestamp),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": checks.count("total_tokens", total),
            "cached_tokens": checks.count("cached_tokens", self.cached_tokens),
            "reasoning_tokens": checks.count("reasoning_tokens", self.reasoning_tokens),
            "cost_usd": checks.optional_money("cost_usd", self.cost_usd),
            "price_version": checks.optional_count("price_version", self.price_version, maximum=2**31 - 1),
            "request_id": checks.optional_text("request_id", self.request_id),
            "model_name": checks.optional_text("model_name", self.model_name),
            "endpoint": checks.optional_text("endpoint", self.endpoint),
            "response_time_ms": checks.optional_count("response_time_ms", self.response_time_ms, maximum=2**31 - 1),
            "status_code": checks.optional_count("status_code", self.status_code, maximum=999),
            "error_message": checks.optional_text("error_message", self.error_message, TEXT_MAX_CHARS),
            "request_metadata": json_object("request_metadata", self.request_metadata),
            "response_metadata": json_object("response_metadata", self.response_metadata),
            "billable": _checked_billable(self.billable),
            "pricing_context": json_object("pricing_context", self.pricing_context),
        }


def _checked_billable(usage: object) -> BillableUsage | None:
    if usage is not None and not isinstance(usage, BillableUsage):
        raise InvalidValueError(f"billable: must be a BillableUsage, not {type(usage).__name__}")
    return usage


class TokenTotals(NamedTuple):
    """The tokens of a range of usage."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class UsageTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over usage records; `unpriced_requests` are not in `cost_usd` (US dollars)."""

    requests: int
    unpriced_requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: Decimal


class KeyModelTotals(UsageTotals, frozen=True, kw_only=True):
    """The totals of one API key with one model."""

    api_key_id: UUID
    model_id: UUID | None
    model_name: str | None
