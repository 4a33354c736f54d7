"""Partitions of usage, a month each (UTC), made before they are needed. PostgreSQL only: SQLite keeps one table."""

import asyncio
import logging
from datetime import date, timedelta

from gatewaydb.clock import Timer
from gatewaydb.engines import Engine
from gatewaydb.errors import GatewayDBError
from gatewaydb.metering.settlement import settle_days

PARTITIONS_AHEAD = 3
"""Months after this one that have a partition already."""

STRAY_MONTHS_MAX = 60
"""Months that get one at a time because of records that are there already."""

LOOK_AGAIN = timedelta(hours=1)

_log = logging.getLogger(__name__)


async def add_partitions(engine: Engine) -> list[date]:
    """Makes the partitions of this month and the next ones, and of months whose records lie in the default partition.

    Gives the months that were made, by their first days. Records that are left in the default partition, because they
    say to be of the far future, are told in a warning. Raises QueryTimeoutError where others hold the tables, and
    whatever else the database refuses.
    """
    month = engine.clock.now().date().replace(day=1)
    bounds = {"month": month, "ahead": PARTITIONS_AHEAD, "strays": STRAY_MONTHS_MAX}
    missing = [row["first_day"] for row in await engine.fetch_all("usage_partition_list_missing", **bounds)]
    made = [first for first in missing if await _add(engine, first)]
    row = await engine.fetch_one("usage_partition_count_strays")
    if row and row["total"]:
        _log.warning("%d usage records are of no month that has a partition", row["total"])
    return made


async def _add(engine: Engine, first: date) -> bool:
    row = await engine.fetch_one("usage_partition_add", month=first)
    return bool(row and row["made"])


class PartitionKeeper:
    """Looks after the partitions of an open database. Where it cannot, it says so, and the default partition serves."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._timer: Timer | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Looks now, and every hour from now on."""
        await self._look()
        self._look_later()

    async def stop(self) -> None:
        """Ends it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._looking is not None:
            looking, self._looking = self._looking, None
            looking.cancel()
            await asyncio.wait([looking])

    def _look_later(self) -> None:
        self._timer = self._engine.clock.call_later(LOOK_AGAIN.total_seconds(), self._look_and_again)

    def _look_and_again(self) -> None:
        self._looking = asyncio.create_task(self._keep())
        self._look_later()

    async def _keep(self) -> None:
        await self._look()
        try:
            await settle_days(self._engine)
        except GatewayDBError as error:
            _log.warning("days that are over are not settled, and reports take longer: %s", error)

    async def _look(self) -> None:
        try:
            await add_partitions(self._engine)
        except GatewayDBError as error:
            _log.warning(
                "usage has no partitions ahead of time, and its default partition takes the records: %s", error
            )
