"""Prices of whole dollars: sums are easy to follow."""

from decimal import Decimal
from typing import Any

from gatewaydb.pricing import BillableUsage, Cost, PriceSheet

CHAT = {"input_cost_per_token": "2", "output_cost_per_token": "10"}


def cost(prices: dict[str, Any], usage: BillableUsage | None = None, /, **context: Any) -> Cost:
    return PriceSheet.of(prices).cost_of(usage or BillableUsage(100, 10), **context)


def dollars(*amounts: int) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, amounts))


def rates(cost: Cost) -> dict[str, Decimal]:
    return {line.item: line.rate for line in cost.lines}
