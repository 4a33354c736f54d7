"""A cost, for people and for programs: its sums, and how each part of it came about."""

from typing import Any

from gatewaydb import Cost
from gatewaydb.cli.output import console, exact_usd, say, table, visible
from gatewaydb.pricing import CostLine

_SUMS = ("cost_usd", "total", "input", "output", "assumed", "unpriced")
_PARTS = ("item", "count", "rate", "multiplier", "amount", "why", "fallback", "assumed")


def show_cost(name: str, cost: Cost, *, explain: bool) -> None:
    """The total and what is unpriced or assumed; `explain` puts the lines before it."""
    if explain and cost.lines:
        console().print(table(("item", ">count", ">price", ">cost", "because of"), map(_row, cost.lines)))
    if cost.unpriced:
        say(f"Unpriced: {visible(name)} has no price for {visible(', '.join(cost.unpriced))}.", "bold yellow")
        if cost.lines:
            say(f"What has a price costs {exact_usd(cost.total)}; the whole is unknown.")
    else:
        say(exact_usd(cost.total), "bold")
    for assumed in cost.assumed:
        say(f"Assumed: {assumed}.")


def cost_json(cost: Cost) -> dict[str, Any]:
    """All of it; `rate` is the price of one `unit`, `amount` is count * rate * multiplier."""
    return {name: getattr(cost, name) for name in _SUMS} | {"lines": [_line_json(line) for line in cost.lines]}


def _row(line: CostLine) -> tuple[Any, ...]:
    per, many = (1_000_000, "1M ") if line.component.unit == "token" else (1, "")
    price = f"${(line.rate * per).normalize():f} / {many}{line.component.unit}"
    if line.multiplier != 1:
        price += f" x {line.multiplier.normalize():f}"
    return line.item, line.count, price, exact_usd(line.amount), line.why


def _line_json(line: CostLine) -> dict[str, Any]:
    price = line.component
    origin = {"unit": price.unit, "source_field": price.source_field, "origin": price.origin, "version": price.version}
    return {name: getattr(line, name) for name in _PARTS} | origin
