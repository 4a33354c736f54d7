"""The model: what may be called, what it can do and what it costs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Self
from uuid import UUID

import msgspec
from msgspec.structs import replace

from gatewaydb.entities import checks
from gatewaydb.entities.base import Entity, utc_now
from gatewaydb.entities.frozen import EMPTY
from gatewaydb.entities.usage_records import UsageRecord
from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage, Cost, PriceComponent, PriceSheet


class Model(Entity, frozen=True, kw_only=True, gc=False):
    """An LLM under the name that callers use.

    `prices` takes price components, or a mapping such as {"input_cost_per_token": "0.0000025"} in LiteLLM's words.
    `aliases` are its enabled aliases; they are changed through `db.model_aliases`. Whatever the catalog says beyond the
    fields is in `metadata`. `origin` tells models that imports keep up to date from those of one's own, which imports
    leave alone; `vanished_at` is when an import first missed it in the catalog.
    """

    name: str
    litellm_provider: str | None = None
    provider_id: UUID | None = None
    mode: str | None = None
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    supports_assistant_prefill: bool = False
    supports_audio_input: bool = False
    supports_audio_output: bool = False
    supports_computer_use: bool = False
    supports_function_calling: bool = False
    supports_image_input: bool = False
    supports_native_streaming: bool = False
    supports_parallel_function_calling: bool = False
    supports_pdf_input: bool = False
    supports_prompt_caching: bool = False
    supports_reasoning: bool = False
    supports_response_schema: bool = False
    supports_system_messages: bool = False
    supports_tool_choice: bool = False
    supports_url_context: bool = False
    supports_video_input: bool = False
    supports_vision: bool = False
    supports_web_search: bool = False
    deprecation_date: str | None = None
    source: str | None = None
    origin: Literal["catalog", "custom"] = "custom"
    vanished_at: datetime | None = None
    metadata: Mapping[str, Any] = EMPTY
    aliases: Sequence[str] = ()
    prices: PriceSheet | Iterable[PriceComponent] | Mapping[str, Any] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.prices, PriceSheet):
            msgspec.structs.force_setattr(self, "prices", PriceSheet.of(self.prices))

    @property
    def price_sheet(self) -> PriceSheet:
        """`prices`, under the type that it always has once the model is made."""
        assert isinstance(self.prices, PriceSheet)
        return self.prices

    @property
    def price_version(self) -> int | None:
        """The number of the latest change of its prices; None if nothing is stored of them."""
        return self.price_sheet.version or None

    def cost_of(
        self,
        usage: BillableUsage,
        *,
        service_tier: str | None = None,
        batch: bool = False,
        at: datetime | None = None,
        **context: Any,
    ) -> Cost:
        """What this usage costs, line by line; what has no price is named in `unpriced`, never counted as 0."""
        return self.price_sheet.cost_of(usage, service_tier=service_tier, batch=batch, at=at, **context)

    def calculate_cost(
        self,
        input_tokens: int,
        output_tokens: int,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        audio_input_tokens: int = 0,
        audio_output_tokens: int = 0,
        images: int = 0,
    ) -> Decimal:
        """US dollars, exact. Counts are inclusive: cache and audio input are parts of `input_tokens`, and so on.

        Raises PriceNotFoundError where something that was used has no price, InvalidValueError on impossible counts.
        """
        return self.price_sheet.calculate_cost(
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            reasoning_tokens,
            audio_input_tokens,
            audio_output_tokens,
            images,
        )

    def usage_record(
        self,
        api_key_id: UUID,
        usage: BillableUsage,
        *,
        request_timestamp: datetime | None = None,
        pricing_context: Mapping[str, Any] = EMPTY,
        **fields: Any,
    ) -> UsageRecord:
        """The record of one request to this model, priced as of its timestamp (now, if none is given).

        `pricing_context` is what `cost_of` takes beside the usage: {"service_tier": "flex", "batch": True, ...}. Where
        something that was used has no price, `cost_usd` is None. `fields` are the other fields of a UsageRecord.
        """
        cost = self.cost_of(usage, at=request_timestamp, **pricing_context)
        record = UsageRecord(
            api_key_id=api_key_id,
            model_id=self.id,
            model_name=self.name,
            provider_id=self.provider_id,
            request_timestamp=request_timestamp or utc_now(),
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            cached_tokens=usage.cache_read_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost_usd=cost.cost_usd,
            price_version=self.price_version,
            pricing_context=pricing_context,
            **fields,
        )
        return record if record.billable_usage == usage else replace(record, billable=usage)

    def explain(self, record: UsageRecord) -> Cost:
        """How the record's cost came about, by the version of the prices that it names; by today's if it names none."""
        sheet = self.price_sheet
        if record.price_version is not None:
            sheet = sheet.of_version(record.price_version)
        return sheet.cost_of(record.billable_usage, at=record.request_timestamp, **record.pricing_context)

    def checked(self) -> Self:
        """The model as it will be stored. Raises InvalidValueError."""
        limits = {name: checks.optional_count(name, getattr(self, name)) for name in LIMITS}
        flags = {name: checks.boolean(name, getattr(self, name)) for name in CAPABILITIES}
        return replace(
            self,
            **limits,
            **flags,
            id=checks.identifier("id", self.id),
            name=checks.text("name", self.name),
            litellm_provider=checks.optional_text("litellm_provider", self.litellm_provider),
            provider_id=checks.optional_identifier("provider_id", self.provider_id),
            mode=checks.optional_text("mode", self.mode),
            deprecation_date=checks.optional_text("deprecation_date", self.deprecation_date),
            source=checks.optional_text("source", self.source, 2_000),
            origin=_checked_origin(self.origin),
            vanished_at=checks.optional_instant("vanished_at", self.vanished_at),
            metadata=checks.json_object("metadata", self.metadata),
        )


def _checked_origin(origin: object) -> str:
    if origin not in ("catalog", "custom"):
        raise InvalidValueError("origin: must be 'catalog' or 'custom'")
    return str(origin)


LIMITS = tuple(name for name in Model.__struct_fields__ if name.startswith("max_"))
CAPABILITIES = tuple(name for name in Model.__struct_fields__ if name.startswith("supports_"))
