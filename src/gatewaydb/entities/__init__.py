"""One immutable value per noun; `checked()` gives it as it will be stored, or raises InvalidValueError."""

from gatewaydb.entities.api_keys import APIKey
from gatewaydb.entities.daily_usage_summaries import DailyUsageSummary, ReportBy, UsageReport, UsageReportRow
from gatewaydb.entities.model_aliases import ModelAlias
from gatewaydb.entities.models import Model
from gatewaydb.entities.monthly_usage_summaries import MonthlyUsageSummary
from gatewaydb.entities.providers import Provider
from gatewaydb.entities.usage_records import KeyModelTotals, TokenTotals, UsageRecord, UsageTotals

__all__ = [
    "APIKey",
    "DailyUsageSummary",
    "KeyModelTotals",
    "Model",
    "ModelAlias",
    "MonthlyUsageSummary",
    "Provider",
    "ReportBy",
    "TokenTotals",
    "UsageRecord",
    "UsageReport",
    "UsageReportRow",
    "UsageTotals",
]
