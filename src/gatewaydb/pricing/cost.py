"""A cost that can explain itself."""

from decimal import Decimal

from msgspec import Struct

from gatewaydb.pricing.components import PriceComponent
from gatewaydb.pricing.literals import ONE


class CostLine(Struct, frozen=True, gc=False, omit_defaults=True):
    """One count at one rate: `amount = count * rate * multiplier`, in USD and exact.

    `item` is the count it bills: a field of BillableUsage, `text_input_tokens` and `text_output_tokens`
    (what is left of the whole), or `tool_calls[...]` and `web_searches[...]`. `fallback`: the price is one
    for something more general. `assumed` says what had to be assumed, if anything.
    """

    item: str
    component: PriceComponent
    count: int | Decimal
    rate: Decimal
    amount: Decimal
    multiplier: Decimal = ONE
    fallback: bool = False
    assumed: str = ""

    @property
    def why(self) -> str:
        """Why this price was chosen, in words."""
        field = self.component.source_field or f"{self.component.kind} price that the provider's rule gives"
        how = f"{field}, as there is no price of its own" if self.fallback else field
        return f"{how}; assumed: {self.assumed}" if self.assumed else how


class Cost(Struct, frozen=True, gc=False):
    """What a usage costs: exact sums of its lines, in USD.

    `total` is `input` and `output` and what is neither (tools, requests, capacity). `unpriced` names what
    was used and has no price: the sums leave it out, so check it, or use `cost_usd`. `assumed` says which
    prices had to be assumed.
    """

    total: Decimal
    input: Decimal
    output: Decimal
    lines: tuple[CostLine, ...]
    assumed: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()

    @property
    def cost_usd(self) -> Decimal | None:
        """The total, or None if anything used has no price: unpriced is not free."""
        return None if self.unpriced else self.total
