"""`gatewaydb usage verify` and `gatewaydb usage prune`."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from gatewaydb import Database, UsageRecord
from tests.acceptance.conftest import Run

OLD = datetime(2024, 2, 10, tzinfo=UTC)


async def _fill(change: str | None = None) -> None:
    async with Database(os.environ["DATABASE_URL"]) as db:
        if change is None:
            key, _ = await db.api_keys.issue("production")
            times = [OLD, OLD + timedelta(60), datetime.now(UTC)]
            records = [
                UsageRecord(api_key_id=key.id, request_timestamp=at, model_name="gpt-4o", cost_usd=Decimal("0.5"))
                for at in times
            ]
            await db.usage.create_many(records)
        else:
            async with db.transaction() as tx:
                await tx.execute(change)


@pytest.fixture
def filled(gatewaydb: Run) -> Run:
    """With three records of one key: two of them old, in two months."""
    asyncio.run(_fill())
    return gatewaydb


def test_what_agrees_is_said(filled: Run) -> None:
    ran = filled("usage", "verify")
    assert (ran.code, ran.err) == (0, "")
    assert "Records, days and months agree." in ran.out
    report = filled("usage", "verify", "--api-key", "production", "--json").json
    assert (report["sound"], report["keys"], report["drifts"]) == (True, 1, [])


def test_drift_is_shown_by_key_and_repaired(filled: Run) -> None:
    asyncio.run(_fill("UPDATE daily_usage_summaries SET total_requests = 3 WHERE day = '2024-02-10'"))
    ran = filled("usage", "verify")
    assert ran.code == 1
    assert "production" in ran.out
    assert "2024-02-10" in ran.out
    assert "+2" in ran.out
    assert "deleted by hand" in ran.err
    shown = filled("usage", "verify", "--json")
    assert shown.code == 1
    assert '"difference"' in shown.out
    assert filled("usage", "verify", "--since", "2024-04-01", "--json").json["drifts"] == []
    repaired = filled("usage", "verify", "--repair", "--json").json
    assert (repaired["drifted"], repaired["repaired"], repaired["sound"]) == (1, 1, True)
    assert filled("usage", "verify").code == 0


def test_pruning_asks_first_and_keeps_the_sums(filled: Run) -> None:
    dry = filled("usage", "prune", "--older-than", "400d", "--dry-run")
    assert "2024-02" in dry.out
    assert "nothing was removed" in dry.err
    refused = filled("usage", "prune", "--older-than", "400d")
    assert refused.code == 2
    assert "2024-02 to 2024-04" in refused.err
    assert len(filled("usage", "list", "--api-key", "production", "--json").json) == 3
    pruned = filled("usage", "prune", "--older-than", "400d", "--yes", "--json").json
    assert [month["first_day"] for month in pruned["months"]] == ["2024-02-01", "2024-04-01"]
    assert len(filled("usage", "list", "--api-key", "production", "--json").json) == 1
    assert len(filled("summaries", "show", "production", "--json").json) == 3
    assert filled("usage", "verify").code == 0
    again = filled("usage", "prune", "--older-than", "400d", "--yes")
    assert (again.code, "no usage records are that old" in again.err) == (0, True)


@pytest.mark.parametrize("when", ["2999-01-01", "soon", ""])
def test_a_cut_off_that_makes_no_sense_is_refused(filled: Run, when: str) -> None:
    ran = filled("usage", "prune", "--older-than", when, "--yes")
    assert ran.code == 2
    assert "--older-than" in ran.err
