"""The limits of an API key as options: set with `keys create`, set or removed with `keys update`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gatewaydb.cli import values
from gatewaydb.cli.errors import UsageError

_LIMITS = Group("Limits", sort_key=50)


def _limit(option: str, meaning: str) -> Parameter:
    return Parameter(name=option, group=_LIMITS, show_default=False, help=meaning)


@Parameter(name="*")
@dataclass(frozen=True)
class Limits:
    """The limits that are given."""

    budget: Annotated[str | None, _limit("--budget", "US dollars a month.")] = None
    rate_limit: Annotated[values.Whole | None, _limit("--rate-limit", "Requests a minute.")] = None
    expires: Annotated[str | None, _limit("--expires", "A time, 2027-01-01, or a duration from now, 90d.")] = None
    models: Annotated[
        str | None, _limit("--models", "What it may call: names, aliases, patterns, as in gpt-4o,openai/*.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """The fields of an API key that they set. Raises UsageError, InvalidValueError."""
        fields: dict[str, Any] = {}
        if self.budget is not None:
            fields["monthly_budget_usd"] = values.money("--budget", self.budget)
        if self.rate_limit is not None:
            fields["rate_limit_per_minute"] = self.rate_limit
        if self.expires is not None:
            fields["expires_at"] = values.future("--expires", self.expires, datetime.now(UTC))
        if self.models is not None:
            fields["allowed_models"] = values.names("--models", self.models)
        return fields


@Parameter(name="*")
@dataclass(frozen=True)
class Removals:
    """The limits that are taken away."""

    no_budget: Annotated[bool, _limit("--no-budget", "Remove the budget.")] = False
    no_rate_limit: Annotated[bool, _limit("--no-rate-limit", "Remove the rate limit.")] = False
    no_expiry: Annotated[bool, _limit("--no-expiry", "Let it not expire.")] = False
    all_models: Annotated[bool, _limit("--all-models", "Allow every model.")] = False

    def settings(self) -> dict[str, Any]:
        """The fields of an API key without these limits."""
        removed = (
            ("monthly_budget_usd", self.no_budget, None),
            ("rate_limit_per_minute", self.no_rate_limit, None),
            ("expires_at", self.no_expiry, None),
            ("allowed_models", self.all_models, ()),
        )
        return {field: nothing for field, is_removed, nothing in removed if is_removed}


def changes(limits: Limits, removals: Removals) -> dict[str, Any]:
    """The fields of an API key that change. Raises UsageError where one is set and removed at once."""
    changed, removed = limits.settings(), removals.settings()
    for field in changed.keys() & removed.keys():
        raise UsageError(f"{field}: is set and removed at once")
    return changed | removed


NO_LIMITS = Limits()
NO_REMOVALS = Removals()
