"""What the engines have in common: rows, the book of migrations, and the numbers of a pool."""

from datetime import timedelta
from typing import Any, Protocol

import msgspec

Row = dict[str, Any]

CREATE_BOOKKEEPING = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL
);
"""
READ_BOOKKEEPING = "SELECT version, checksum FROM schema_migrations ORDER BY version"
MIGRATION_LOCK = "SELECT pg_advisory_xact_lock(7308332245326496371)"
"""Any number that no other program takes: all gatewaydb processes of one PostgreSQL database queue behind it."""


class PoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """The connections of one engine, and how often and how long callers waited for one."""

    max_open_connections: int
    open_connections: int
    in_use: int
    idle: int
    wait_count: int
    wait_duration: timedelta
    max_idle_closed: int
    max_lifetime_closed: int
    replica_fallbacks: int = 0
    """Reports that the primary answered because the replica did not."""


class MigrationSession(Protocol):
    """What a migration runs in."""

    async def applied(self) -> list[tuple[int, str]]:
        """(version, checksum), in order."""

    async def run_script(self, sql: str) -> None:
        """Several statements."""
