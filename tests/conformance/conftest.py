"""What the nouns' files share. The suite runs on both engines; what holds on one holds on the other."""

from typing import Any

import asyncpg
import pytest

from gatewaydb import APIKey, Database, DatabaseConfig, Model
from gatewaydb.engines import sqlite
from tests.conformance.coherence import elsewhere, sql, stored  # noqa: F401 - fixtures


@pytest.fixture
def dialect(config: DatabaseConfig) -> str:
    """`sqlite` or `postgres`."""
    return "sqlite" if config.is_sqlite else "postgres"


@pytest.fixture
async def api_key(db: Database) -> APIKey:
    """A key that is stored."""
    key, _ = await db.api_keys.issue("caller")
    return key


@pytest.fixture
async def model(db: Database) -> Model:
    """A model that is stored, with prices."""
    prices = {"input_cost_per_token": "0.00003", "output_cost_per_token": "0.00006"}
    return await db.models.create(Model(name="gpt-4", litellm_provider="openai", prices=prices))


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the drivers are asked outside transactions, as it happens, but for the watch for others' changes."""
    asked: list[str] = []

    def watch(owner: Any, name: str, position: int) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            if "cache_changes" not in args[position]:
                asked.append(args[position])
            return original(*args, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(sqlite, "run", 1)
    for method in ("fetch", "fetchrow", "execute"):
        watch(asyncpg.Connection, method, 1)
    return asked
