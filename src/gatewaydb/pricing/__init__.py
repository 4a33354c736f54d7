"""Prices and costs, pure: components, what was used, and what it costs."""

from gatewaydb.pricing.adapters import anthropic_message_of, billable_usage
from gatewaydb.pricing.components import (
    ALWAYS,
    Condition,
    PriceComponent,
    Window,
    condition_from_json,
    condition_to_json,
)
from gatewaydb.pricing.cost import Cost, CostLine
from gatewaydb.pricing.entries import components_of, entry_of, parse_entry
from gatewaydb.pricing.literals import NumberText, PriceValueError, decode_entries
from gatewaydb.pricing.sheet import PriceSheet
from gatewaydb.pricing.usage import BillableUsage

__all__ = [
    "ALWAYS",
    "BillableUsage",
    "Condition",
    "Cost",
    "CostLine",
    "NumberText",
    "PriceComponent",
    "PriceSheet",
    "PriceValueError",
    "Window",
    "anthropic_message_of",
    "billable_usage",
    "components_of",
    "condition_from_json",
    "condition_to_json",
    "decode_entries",
    "entry_of",
    "parse_entry",
]
