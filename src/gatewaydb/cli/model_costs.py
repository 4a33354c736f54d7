"""`gatewaydb models cost`: what a request costs, and why."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from gatewaydb.cli import values
from gatewaydb.cli.cost_options import (
    NO_COUNTS,
    NO_TOKENS,
    STANDARD,
    Circumstances,
    OtherCounts,
    Tokens,
    billable_usage,
)
from gatewaydb.cli.costs import cost_json, show_cost
from gatewaydb.cli.errors import FAILED
from gatewaydb.cli.lookups import find_model
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import show_json

EXAMPLES = (
    "models cost gpt-4o --input 1000 --output 500",
    "models cost gpt-4o --input 1000 --output 500 --cache-read 400 --explain",
    "models cost gpt-4o --input 1000 --output 500 --tier flex --at 2026-11-01 --json",
    "models cost gpt-4o --input 1000 --output 500 --web-searches 2 --search-context-size low",
)


async def cost(
    model: str,
    /,
    *,
    tokens: Tokens = NO_TOKENS,
    counts: OtherCounts = NO_COUNTS,
    tier: Annotated[str | None, Parameter(name=("--tier", "--service-tier"))] = None,
    batch: Annotated[bool, Parameter(show_default=False)] = False,
    circumstances: Circumstances = STANDARD,
    at: str | None = None,
    explain: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options = DEFAULT_OPTIONS,
) -> int:
    """Show what a request costs.

    Counts are inclusive: cached and audio tokens are parts of --input, reasoning tokens of --output. The exit code is 1
    where something that was used has no price.

    Parameters
    ----------
    model
        Its name, alias or id.
    tier
        The service tier: priority, flex, ...
    batch
        Priced as part of a batch.
    at
        When the request was: 2026-11-23, 2026-11-23T18:00Z, or a duration ago, 3h. Now, if not given.
    explain
        Show each part: its count, its price, and why it is that price. --json always does.
    """
    usage = billable_usage(tokens, counts)
    moment = None if at is None else values.past("--at", at, datetime.now(UTC))
    async with options.opened() as db:
        found = await find_model(db, model)
    result = found.cost_of(usage, service_tier=tier, batch=batch, at=moment, **asdict(circumstances))
    if options.json:
        show_json({"model": found.name, **cost_json(result)})
    else:
        show_cost(found.name, result, explain=explain)
    return FAILED if result.unpriced else 0
