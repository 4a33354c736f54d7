"""A sheet's components, compiled into what the calculator reads: candidates by slot, most specific first."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from gatewaydb.pricing.circumstances import Circumstances, holds
from gatewaydb.pricing.components import PriceComponent
from gatewaydb.pricing.leaves import BILLINGS, Leaf, Slot
from gatewaydb.pricing.literals import EXACT, ONE
from gatewaydb.pricing.usage import COUNT_MAX

_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Choice(NamedTuple):
    """The price of a leaf, and how it was come by."""

    component: PriceComponent
    fallback: bool
    assumed: str


class PlainRates(NamedTuple):
    """The standard prices of text in and out, good while no threshold is passed."""

    input: PriceComponent
    output: PriceComponent
    input_tokens_max: int


class Rates:
    """Compiled prices of one model, in USD; prices in another currency take no part."""

    __slots__ = ("_multipliers", "_slots", "_tiers", "dated", "plain")

    def __init__(self, components: Iterable[PriceComponent], now: datetime) -> None:
        """`dated`: the price depends on when. `plain`: what it is from `now` on, if that will not change by itself."""
        priced = sorted((c for c in components if c.currency == "USD"), key=_specificity, reverse=True)
        self._multipliers = tuple(c for c in priced if c.combine == "multiply")
        self._slots = _by_slot(c for c in priced if c.combine == "replace")
        self._tiers = tuple(c for c in priced if c.condition.input_tokens_range)
        windowed = any(c.condition.windows for c in priced)
        self.dated = windowed or any(c.valid_until is not None or _begins_after(c, now) for c in priced)
        settled = not windowed and not any(_ends_after(c, now) or _begins_after(c, now) for c in priced)
        self.plain = self._plain_rates(now) if settled and not self._tiers else None

    def tier_tokens(self, input_tokens: int, at: datetime | None) -> int:
        """The count to look up in the tier table: not below its first row, nor above its last."""
        tops = (_top(c) for c in self._tiers if at is None or c.valid_at(at))
        return min(max(input_tokens, 1), max(tops, default=0))

    def choose(self, leaf: Leaf, given: Circumstances) -> Choice | None:
        """The price for this leaf, or None if there is none."""
        for stage in leaf.billing.stages:
            found = [(c, slot) for slot in stage.slots if (c := self._best(slot, leaf, given)) is not None]
            if found:
                component, slot = found[0] if len(found) == 1 else max(found, key=_PREFERENCE[stage.rule])
                home = leaf.billing.stages[0]
                fallback = slot not in home.slots if home.rule in _ANY_SLOT else slot is not home.slots[0]
                assumed = filter(None, (leaf.assumed, stage.assumed, self._assumed(component, slot, given)))
                return Choice(component, fallback, "; ".join(assumed))
        return None

    def multiplier(self, given: Circumstances) -> Decimal:
        """What token costs are multiplied with: surcharges by region, geography and speed."""
        product = ONE
        for component in self._multipliers:
            if _applies(component, given):
                product = EXACT.multiply(product, component.price)
        return product

    def _best(self, slot: Slot, leaf: Leaf, given: Circumstances) -> PriceComponent | None:
        for component in self._slots.get(slot, ()):
            if _applies(component, given, leaf.search_context_size):
                return component
        return None

    def _assumed(self, component: PriceComponent, slot: Slot, given: Circumstances) -> str:
        condition = component.condition
        if component.direction == "none":  # tools, requests and capacity know no modes
            return ""
        if given.mode != condition.mode and given.mode is not None:
            return f"the standard price, as there is none for {given.mode}"
        if given.resolution is not None and condition.resolution is None and self._has_resolutions(slot):
            return f"the price of no named resolution, as there is none for {given.resolution}"
        return ""

    def _has_resolutions(self, slot: Slot) -> bool:
        return any(component.condition.resolution for component in self._slots[slot])

    def _plain_rates(self, now: datetime) -> PlainRates | None:
        given = Circumstances(0, 0, at=now)
        chosen, limit = [], COUNT_MAX
        for item in ("text_input_tokens", "text_output_tokens"):
            slot = BILLINGS[item].stages[0].slots[0]
            component = self._best(slot, Leaf(item, 1, BILLINGS[item]), given)
            if component is None:
                return None
            chosen.append(component)
            limit = min([limit, *(_last_below(c) for c in self._slots[slot] if c.valid_at(now))])
        return PlainRates(chosen[0], chosen[1], limit)


def _applies(component: PriceComponent, given: Circumstances, search_context_size: str | None = None) -> bool:
    if given.at is not None and not component.valid_at(given.at):
        return False
    return holds(component.condition, given, search_context_size)


def _specificity(component: PriceComponent) -> tuple[Any, ...]:
    """Tier table before time window before threshold before mode, then the operator's, then the newest.

    A threshold says which request it is, a mode how it is served: where no price has both, the threshold's
    is the safer one, as it is never the lower.
    """
    condition = component.condition
    results = condition.max_results_range
    return (
        condition.input_tokens_range is not None,
        bool(condition.windows),
        condition.input_tokens_gt or condition.input_tokens_ge or 0,
        condition.segment_seconds_gt or 0,
        condition.mode is not None,
        condition.resolution is not None,
        -results[0] if results else 0,  # without a number of results asked for, the smallest
        component.kind != "cache_read_alias",
        component.origin == "operator",
        component.valid_from or _BEGINNING,
    )


_PREFERENCE: dict[str, Callable[[tuple[PriceComponent, Slot]], Any]] = {
    "first": lambda _: 0,
    "any": lambda _: 0,
    "tiers": lambda found: found[0].condition.input_tokens_range is not None,
    "specific": lambda found: _specificity(found[0])[:5],
    "nonzero": lambda found: bool(found[0].price),
}
_ANY_SLOT = ("any", "nonzero")


def _slot_of(component: PriceComponent) -> Slot:
    kind, ttl = component.kind, component.condition.cache_ttl
    if kind == "cache_read_alias":
        kind = "cache_read"
    elif ttl:
        kind = f"{kind} {ttl}"
    return _shared((component.direction, component.modality, kind, component.unit))


@lru_cache(maxsize=1024)
def _shared(slot: Slot) -> Slot:
    return slot


def _by_slot(components: Iterable[PriceComponent]) -> dict[Slot, tuple[PriceComponent, ...]]:
    slots: dict[Slot, tuple[PriceComponent, ...]] = {}
    for component in components:
        slot = _slot_of(component)
        slots[slot] = (*slots.get(slot, ()), component)
    return slots


def _begins_after(component: PriceComponent, now: datetime) -> bool:
    return component.valid_from is not None and component.valid_from > now


def _ends_after(component: PriceComponent, now: datetime) -> bool:
    return component.valid_until is not None and component.valid_until > now


def _top(component: PriceComponent) -> int:
    return component.condition.input_tokens_range[1] if component.condition.input_tokens_range else 0


def _last_below(component: PriceComponent) -> int:
    """The highest number of input tokens at which the component's threshold is not passed."""
    condition = component.condition
    if condition.input_tokens_gt is not None:
        return condition.input_tokens_gt
    return COUNT_MAX if condition.input_tokens_ge is None else condition.input_tokens_ge - 1
