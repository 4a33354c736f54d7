"""The calculator: leaves of a usage, each at its price, summed exactly.

cost = multiplier * sum over token leaves of (count * rate) + sum over all else of (count * rate)
"""

from collections.abc import Mapping
from decimal import Decimal

from gatewaydb.pricing.circumstances import Circumstances
from gatewaydb.pricing.components import PriceComponent
from gatewaydb.pricing.cost import Cost, CostLine
from gatewaydb.pricing.leaves import Leaf, leaves_of
from gatewaydb.pricing.literals import EXACT, ONE, ZERO
from gatewaydb.pricing.rates import PlainRates, Rates
from gatewaydb.pricing.usage import BillableUsage


def bill(rates: Rates, usage: BillableUsage, given: Circumstances, free: Mapping[str, int]) -> Cost:
    """What the usage costs in these circumstances; `free` calls by tool are not billed."""
    multiplier = rates.multiplier(given)
    lines: dict[str, CostLine] = {}
    missing: list[str] = []
    leaves = list(leaves_of(usage, free))
    for leaf in leaves:
        choice = rates.choose(leaf, given)
        if choice is None:
            missing.append(leaf.item)
        else:
            factor = multiplier if choice.component.unit == "token" else ONE
            lines[leaf.item] = _line(leaf, choice.component, factor, choice.fallback, choice.assumed)
    for leaf in leaves:
        if leaf.billing.twins:
            _bill_one_of_twins(leaf, lines, missing)
    return _sum(tuple(lines.values()), _unpriced(missing, lines))


def bill_plain(plain: PlainRates, usage: BillableUsage) -> Cost:
    """The same for nothing but text in and out at standard prices: the common case, at a fraction of the time."""
    multiply = EXACT.multiply
    source, result = plain.input, plain.output
    source_rate, result_rate = source.rate, result.rate
    source_amount = multiply(source_rate, usage.input_tokens)
    result_amount = multiply(result_rate, usage.output_tokens)
    return Cost(
        EXACT.add(source_amount, result_amount),
        source_amount,
        result_amount,
        (
            CostLine("text_input_tokens", source, usage.input_tokens, source_rate, source_amount),
            CostLine("text_output_tokens", result, usage.output_tokens, result_rate, result_amount),
        ),
    )


def _line(leaf: Leaf, component: PriceComponent, multiplier: Decimal, fallback: bool, assumed: str) -> CostLine:
    rate = component.rate
    amount = EXACT.multiply(rate, leaf.quantity)
    if multiplier is not ONE:
        amount = EXACT.multiply(amount, multiplier)
    return CostLine(leaf.item, component, leaf.quantity, rate, amount, multiplier, fallback, assumed)


def _bill_one_of_twins(leaf: Leaf, lines: dict[str, CostLine], missing: list[str]) -> None:
    """The same thing counted in tokens and in a unit of its own is billed once."""
    tokens = [lines[item] for item in leaf.billing.twins if item in lines]
    if leaf.item in missing:
        if tokens:
            missing.remove(leaf.item)
    elif leaf.billing.yields and any(line.amount and not line.fallback for line in tokens):
        del lines[leaf.item]
    else:
        for line in tokens:
            del lines[line.item]


def _unpriced(missing: list[str], lines: Mapping[str, CostLine]) -> tuple[str, ...]:
    """What has no price, without the counts that a model priced by another unit merely reports."""
    if any(line.component.direction != "none" and line.component.unit != "token" for line in lines.values()):
        missing = [item for item in missing if not item.endswith("_tokens")]
    if lines:
        missing = [item for item in missing if item != "requests"]
    return tuple(missing)


def _sum(lines: tuple[CostLine, ...], unpriced: tuple[str, ...]) -> Cost:
    sums = {"input": ZERO, "output": ZERO, "none": ZERO}
    for line in lines:
        direction = line.component.direction
        sums[direction] = EXACT.add(sums[direction], line.amount)
    total = EXACT.add(EXACT.add(sums["input"], sums["output"]), sums["none"])
    assumed = tuple(dict.fromkeys(line.assumed for line in lines if line.assumed))
    return Cost(total, sums["input"], sums["output"], lines, assumed, unpriced)
