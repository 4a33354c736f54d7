"""What an import would change of one model, price by price. Pure."""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from gatewaydb.entities import Model
from gatewaydb.pricing import PriceComponent

SUSPICIOUS_FACTOR = 10
"""A price that grows or shrinks by this much is more often a mistake of its source than a new price."""

_UNCOMPARED = ("id", "created_at", "updated_at", "aliases", "prices")


class PriceChange(Struct, frozen=True):
    """One price of one model, for one unit; None where there is none."""

    field: str
    before: Decimal | None
    after: Decimal | None

    @property
    def percent(self) -> Decimal | None:
        """By how much it grows, rounded to a tenth; None where there is nothing to compare with."""
        if not self.before or self.after is None:
            return None
        return ((self.after - self.before) * 100 / self.before).quantize(Decimal("0.1"))

    @property
    def warning(self) -> str:
        """Why somebody should look at it before it is applied; empty for an ordinary change."""
        if self.before is None or self.after is None:
            return "" if self.after is not None else "is gone"
        if self.after == 0:
            return "turns 0"
        if self.before == 0:
            return "was free"
        if self.after >= self.before * SUSPICIOUS_FACTOR:
            return "grows tenfold or more"
        return "shrinks to a tenth or less" if self.after * SUSPICIOUS_FACTOR <= self.before else ""


class ModelChange(Struct, frozen=True):
    """What differs of one model: the names of its fields, and its prices."""

    name: str
    fields: tuple[str, ...]
    prices: tuple[PriceChange, ...]


def compare(old: Model, new: Model) -> ModelChange:
    """What differs between a stored model and the same model as a catalog has it."""
    fields = tuple(
        name for name in new.__struct_fields__ if name not in _UNCOMPARED and getattr(old, name) != getattr(new, name)
    )
    return ModelChange(new.name, fields, tuple(_price_changes(old.price_sheet, new.price_sheet)))


def _price_changes(old: Iterable[PriceComponent], new: Iterable[PriceComponent]) -> Iterable[PriceChange]:
    before, after = _by_subject(old), _by_subject(new)
    for subject in dict.fromkeys((*before, *after)):
        was, becomes = before.get(subject), after.get(subject)
        if was is None or becomes is None or was.rate != becomes.rate:
            named = becomes or was
            assert named is not None
            yield PriceChange(
                named.source_field, None if was is None else was.rate, None if becomes is None else becomes.rate
            )


def _by_subject(prices: Iterable[PriceComponent]) -> dict[object, PriceComponent]:
    return {price.subject: price for price in prices if price.origin == "catalog" and price.valid_until is None}
