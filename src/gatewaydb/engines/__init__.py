"""The two databases behind one face: statements by name in, rows out, errors in our own words."""

from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.base import PoolStats, Row
from gatewaydb.engines.change_watch import ChangeFeedStats
from gatewaydb.engines.changes import ChangeFeed
from gatewaydb.engines.coalescing import Lookup
from gatewaydb.engines.engine import Engine
from gatewaydb.engines.executor import Executor
from gatewaydb.engines.migrations import (
    SchemaStatus,
    migrate,
    migration_script,
    require_current_schema,
    schema_status,
)
from gatewaydb.engines.statements import Dialect
from gatewaydb.engines.transaction import Transaction


def make_engine(config: DatabaseConfig, clock: Clock, feed: ChangeFeed) -> Engine:
    """The engine that the configuration names, not yet open."""
    # Only the driver that is used is loaded.
    if config.is_sqlite:
        from gatewaydb.engines.sqlite import SQLiteEngine  # noqa: PLC0415

        return SQLiteEngine(config, clock, feed)
    from gatewaydb.engines.postgres import PostgresEngine  # noqa: PLC0415

    return PostgresEngine(config, clock, feed)


__all__ = [
    "ChangeFeed",
    "ChangeFeedStats",
    "Dialect",
    "Engine",
    "Executor",
    "Lookup",
    "PoolStats",
    "Row",
    "SchemaStatus",
    "Transaction",
    "make_engine",
    "migrate",
    "migration_script",
    "require_current_schema",
    "schema_status",
]
