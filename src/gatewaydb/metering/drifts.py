"""What a verification finds: summaries beside what they should say."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal, localcontext
from typing import Any, Literal
from uuid import UUID

import msgspec


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """Sums of one summary, or what they should be; costs in US dollars. A difference of two may be below 0."""

    requests: int
    unpriced_requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int
    cost_usd: Decimal


class UsageDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One summary that differs.

    A `daily` one is compared with its records, a `monthly` one with its days; `day` is then the first of the month, and
    there is no route, no `status_class` and nothing in `cached_tokens`.
    """

    level: Literal["daily", "monthly"]
    api_key_id: UUID
    day: date
    model_name: str | None
    endpoint: str | None
    status_class: int | None
    stored: UsageSums
    expected: UsageSums
    stored_last_request_at: datetime | None
    expected_last_request_at: datetime | None

    @property
    def difference(self) -> UsageSums:
        """What is stored beyond what is expected."""
        with localcontext(prec=60):
            pairs = ((name, getattr(self.stored, name), getattr(self.expected, name)) for name in _SUMS)
            return UsageSums(**{name: stored - expected for name, stored, expected in pairs})

    @property
    def is_beyond(self) -> bool:
        """Whether it holds requests that its records or days do not have: perhaps they were deleted by hand."""
        return self.stored.requests > self.expected.requests


_SUMS = UsageSums.__struct_fields__


def daily_drift(row: Mapping[str, Any]) -> UsageDrift:
    """The drift that a row of `usage_verification_list_daily` is."""
    return UsageDrift(
        level="daily",
        day=row["day"],
        model_name=row["model_name"],
        endpoint=row["endpoint"],
        status_class=row["status_class"],
        **_compared(row),
    )


def monthly_drift(row: Mapping[str, Any], first_day: date) -> UsageDrift:
    """The drift that a row of `usage_verification_list_monthly` is."""
    compared = _compared({**row, "stored_cached": 0, "expected_cached": 0})
    return UsageDrift(level="monthly", day=first_day, model_name=None, endpoint=None, status_class=None, **compared)


def _compared(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "api_key_id": row["api_key_id"],
        "stored": _sums(row, "stored"),
        "expected": _sums(row, "expected"),
        "stored_last_request_at": row["stored_last_at"],
        "expected_last_request_at": row["expected_last_at"],
    }


def _sums(row: Mapping[str, Any], side: str) -> UsageSums:
    with localcontext(prec=60):
        # In millionths of a dollar, and of these again: whole numbers on SQLite.
        cost = Decimal(row[f"{side}_micro"]).scaleb(-6) + Decimal(row[f"{side}_rest"]).scaleb(-12)
        return UsageSums(
            requests=row[f"{side}_requests"],
            unpriced_requests=row[f"{side}_unpriced"],
            prompt_tokens=row[f"{side}_prompt"],
            completion_tokens=row[f"{side}_completion"],
            total_tokens=row[f"{side}_total"],
            cached_tokens=row[f"{side}_cached"],
            cost_usd=cost.quantize(_PICODOLLAR),
        )


_PICODOLLAR = Decimal("1e-12")
