"""The monthly usage summary: what an API key used in one month, UTC."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec


class MonthlyUsageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the key's usage records of the month; `unpriced_requests` are not in `total_cost_usd` (US dollars)."""

    api_key_id: UUID
    year: int
    month: int
    total_requests: int
    unpriced_requests: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_tokens: int
    total_cost_usd: Decimal
    last_request_at: datetime | None
    updated_at: datetime
