"""The daily usage summary: what an API key used of a route on one day, UTC; and reports, which are sums of them."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

ReportBy = Literal["key", "model", "provider", "day", "tag", "endpoint", "status"]
"""What a report has a row for."""


class DailyUsageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the key's usage records of one day, one route and one class of status (2 for 200 to 299; 0: none).

    A route is a model, a provider, a model name and an endpoint. `unpriced_requests` are not in `total_cost_usd` (US
    dollars).
    """

    day: date
    api_key_id: UUID
    route_id: int
    status_class: int
    model_id: UUID | None
    provider_id: UUID | None
    model_name: str | None
    endpoint: str | None
    total_requests: int
    unpriced_requests: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    total_cached_tokens: int
    total_cost_usd: Decimal
    last_request_at: datetime | None


class UsageReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a report: sums over usage records. `label` is None for what has no name of the kind asked for.

    `id` is that of the key, model or provider; `day` is there in a report by day and in a series. `client_errors` have
    the status 400 to 499, `server_errors` 500 to 599. `unpriced_requests` are not in `cost_usd` (US dollars).
    """

    label: str | None = None
    id: UUID | None = None
    day: date | None = None
    requests: int = 0
    unpriced_requests: int = 0
    client_errors: int = 0
    server_errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    last_request_at: datetime | None = None


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, dearest first (days in their order), and the sum of all usage from the day `start` to before `end`.

    `row_count` is how many rows there are without a limit. By tag, a key of several tags is in several rows, so these
    may sum to more than the `total`.
    """

    by: ReportBy
    start: date
    end: date
    rows: Sequence[UsageReportRow]
    row_count: int
    total: UsageReportRow
