"""Settlement: days that are over are summed up by key and by route, once, so that reports over many days are quick.

Reports are right without it, and slower: of days that are not settled they read the daily summaries themselves.
"""

from datetime import date

from gatewaydb.engines import Engine
from gatewaydb.errors import QueryTimeoutError

DAYS_MAX = 400
"""Days that are settled in one go."""


async def settle_days(engine: Engine) -> list[date]:
    """Settles the days that are over and are not settled, or were changed since; gives them.

    Each is a short transaction, beside which nobody writes usage: milliseconds, once a day. Where others hold the
    summaries, it leaves off, and goes on the next time.
    """
    settled: list[date] = []
    while len(settled) < DAYS_MAX and (row := await engine.fetch_one("daily_usage_summary_next_unsettled")):
        if row["first_day"] is None:
            break
        try:
            async with engine.transaction() as tx:
                await tx.execute("daily_usage_summary_settle")
        except QueryTimeoutError:
            break
        settled.append(row["first_day"])
    return settled
