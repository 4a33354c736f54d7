"""A model's prices, as one immutable value that can tell what a usage costs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, overload

from msgspec.structs import replace

from gatewaydb.errors import InvalidValueError, PriceNotFoundError
from gatewaydb.pricing.calculator import bill, bill_plain
from gatewaydb.pricing.circumstances import Circumstances, checked_context, mode_of
from gatewaydb.pricing.components import PriceComponent
from gatewaydb.pricing.cost import Cost
from gatewaydb.pricing.entries import components_of
from gatewaydb.pricing.rates import Rates
from gatewaydb.pricing.usage import BillableUsage, checked_counts, is_plain, served_context

_NOTHING_FREE: Mapping[str, int] = {}


class PriceSheet(Sequence[PriceComponent]):
    """An immutable sequence of price components, compiled once, when the first cost is asked for."""

    __slots__ = ("_components", "_rates")

    def __init__(self, components: Iterable[PriceComponent] = ()) -> None:
        self._components = tuple(components)
        self._rates: Rates | None = None

    @classmethod
    def of(cls, prices: Mapping[str, Any] | Iterable[PriceComponent]) -> "PriceSheet":
        """The sheet of components, or of prices in LiteLLM's words: `{"input_cost_per_token": "0.0000025", ...}`.

        Numbers are Decimal, int or text. InvalidValueError, naming the field, for a float, a negative,
        NaN, infinity, text that is no number, and a field that looks like a price and is none.
        """
        if isinstance(prices, PriceSheet):
            return prices
        return cls(components_of(prices, numbers_as_text=True) if isinstance(prices, Mapping) else prices)

    def cost_of(
        self,
        usage: BillableUsage,
        *,
        service_tier: str | None = None,
        batch: bool = False,
        at: datetime | None = None,
        call_type: str | None = None,
        free: Mapping[str, int] = _NOTHING_FREE,
        **context: str | int | None,
    ) -> Cost:
        """What the usage costs, in USD, exactly; what has no price is named in `Cost.unpriced`.

        `service_tier` is the tier that was asked for; `usage.service_tier`, the one that served, beats it, as do
        `usage.inference_geo` and `usage.speed`.
        `at` is the time of the request (now, if not given). `free` are calls by tool that an allowance
        covers (`{"web_search": 3}`). `context` is any of resolution, segment_seconds, max_results,
        search_context_size, data_residency, vertex_location, inference_geo, speed.
        InvalidValueError for a naive `at`, an unknown name in the context or a value of another type.
        """
        rates = self._rates or self._compile()
        standard = service_tier is None and not batch and at is None and call_type is None and not context
        if (
            standard
            and (plain := rates.plain)
            and 0 < usage.input_tokens <= plain.input_tokens_max
            and usage.output_tokens
            and is_plain(usage)
        ):
            return bill_plain(plain, usage)
        if at is None:
            at = datetime.now(UTC) if rates.dated else None
        elif at.tzinfo is None:
            raise InvalidValueError(f"at: must have a time zone, not {at!r}")
        given = Circumstances(
            usage.input_tokens,
            rates.tier_tokens(usage.input_tokens, at),
            mode_of(usage.service_tier or service_tier, batch, call_type),
            at,
            **checked_context(context | served_context(usage)),
        )
        return bill(rates, usage, given, checked_counts("free", free) if free else free)

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
        """The total cost in USD at standard prices, now. Counts are inclusive, as in BillableUsage.

        PriceNotFoundError where something that was used has no price: unpriced is not free.
        InvalidValueError as for BillableUsage.
        """
        usage = BillableUsage(
            input_tokens,
            output_tokens,
            cache_read_tokens=cache_read_tokens,
            cache_write_tokens=cache_write_tokens,
            reasoning_tokens=reasoning_tokens,
            audio_input_tokens=audio_input_tokens,
            audio_output_tokens=audio_output_tokens,
            images=images,
        )
        cost = self.cost_of(usage)
        if cost.unpriced:
            raise PriceNotFoundError(f"no price for {', '.join(cost.unpriced)}")
        return cost.total

    @property
    def version(self) -> int:
        """The number of the latest change; 0 for a sheet that was never stored."""
        return max((max(c.version, c.ended_version) for c in self._components), default=0)

    def of_version(self, version: int) -> "PriceSheet":
        """The sheet as it was in that version, before any later change."""
        return PriceSheet(
            c if c.ended_version <= version else replace(c, valid_until=None, ended_version=0)
            for c in self._components
            if c.version <= version
        )

    def _compile(self) -> Rates:
        self._rates = Rates(self._components, datetime.now(UTC))
        return self._rates

    @overload
    def __getitem__(self, index: int) -> PriceComponent: ...
    @overload
    def __getitem__(self, index: slice) -> "PriceSheet": ...
    def __getitem__(self, index: int | slice) -> "PriceComponent | PriceSheet":
        return PriceSheet(self._components[index]) if isinstance(index, slice) else self._components[index]

    def __iter__(self) -> Iterator[PriceComponent]:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)

    def __eq__(self, other: object) -> bool:
        return self._components == other._components if isinstance(other, PriceSheet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._components)

    def __repr__(self) -> str:
        return f"<PriceSheet of {len(self)} components>"

    def __reduce__(self) -> tuple[type["PriceSheet"], tuple[tuple[PriceComponent, ...]]]:
        return PriceSheet, (self._components,)
