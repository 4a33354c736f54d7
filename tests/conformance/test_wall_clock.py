"""A wall clock that is set forward and back: verdicts follow it, and what measures time does not."""

from datetime import timedelta

import pytest

from gatewaydb import APIKeyExpiredError, UsageRecord
from tests.clock import ManualClock
from tests.conftest import MakeDatabase


class JumpingClock(ManualClock):
    """Its wall clock can be set; the other one goes on as if nothing were."""

    def set_wall_clock(self, by: timedelta) -> None:
        """Sets the wall clock forward or back."""
        self._start += by


async def test_a_wall_clock_that_jumps_moves_verdicts_and_no_ttl(make_database: MakeDatabase) -> None:
    clock = JumpingClock()
    db = await make_database(clock=clock, api_key_cache_ttl="5m")
    key, secret = await db.api_keys.issue("ends", expires_at=clock.now() + timedelta(hours=1))
    await db.api_keys.authenticate(secret)
    for hours, is_valid in ((2, False), (-2, True), (-24 * 365, True), (24 * 365, True), (2, False), (-2, True)):
        clock.set_wall_clock(timedelta(hours=hours))
        if is_valid:
            assert (await db.api_keys.authenticate(secret)).id == key.id
        else:
            with pytest.raises(APIKeyExpiredError):
                await db.api_keys.authenticate(secret)
        record = await db.usage.create(UsageRecord(api_key_id=key.id, request_timestamp=clock.now()))
        assert await db.usage.get_by_id(record.id) == record
    stats = db.stats().api_key_cache
    assert (stats.misses, stats.expirations, stats.size) == (1, 0, 1)
    clock.advance(301)
    assert db.stats().api_key_cache.expirations == 1
    await db.api_keys.authenticate(secret)
    assert db.stats().api_key_cache.misses == 2
