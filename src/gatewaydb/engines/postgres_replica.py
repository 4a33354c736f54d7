"""A replica that answers reports, as long as it does."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.postgres_pool import PostgresPool
from gatewaydb.errors import DatabaseUnavailableError, GatewayDBError, InvalidValueError, QueryTimeoutError

_LOG = logging.getLogger("gatewaydb")
# After a failure the primary answers for a while, so that not every report waits for the replica in vain.
_REST_S = 5.0
_LOG_EVERY_S = 60.0


class Replica:
    """The pool of `read_url`. What it does not answer, the primary is asked."""

    def __init__(self, config: DatabaseConfig, clock: Clock) -> None:
        place: dict[str, Any] = dict.fromkeys(("host", "port", "database", "user", "password", "read_url"))
        self._pool = PostgresPool(dataclasses.replace(config, url=config.read_url, **place), clock)
        self._clock = clock
        self._is_failing = False
        self._rests_until = 0.0
        self._silent_until = 0.0
        self.fallbacks = 0

    async def open(self) -> None:
        """Connects, if it is there. Raises ConfigurationError."""
        self._rests_until = self._silent_until = self._clock.monotonic()
        try:
            await self._pool.start()
            await self._pool.probe()
        except DatabaseUnavailableError as error:
            self._rest(error)
        except BaseException:
            await self._pool.close(0)
            raise

    async def close(self, deadline: float) -> None:
        """As the pool's."""
        await self._pool.close(deadline)

    def abandon(self) -> None:
        """As the pool's."""
        self._pool.abandon()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Sequence[Any] | None:
        """Its rows; None where it is out of reach or gave the statement up, as replicas may to catch up.

        Raises QueryTimeoutError: a report that takes too long here would do so on the primary, and burden it.
        """
        if (now := self._clock.monotonic()) >= self._rests_until:
            if self._is_failing:
                self._rests_until = now + _REST_S  # for all but this one, which looks whether it is back
            try:
                rows = await self._pool.fetch(sql, arguments)
            except (InvalidValueError, QueryTimeoutError):
                raise
            except GatewayDBError as error:
                self._rest(error)
            else:
                self._is_failing, self._rests_until = False, now
                return rows
        self.fallbacks += 1
        return None

    def _rest(self, error: GatewayDBError) -> None:
        now = self._clock.monotonic()
        self._is_failing, self._rests_until = True, now + _REST_S
        if now >= self._silent_until:
            self._silent_until = now + _LOG_EVERY_S
            _LOG.warning("the replica of read_url does not answer, so the primary is asked: %s", error)
