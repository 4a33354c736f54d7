"""`gatewaydb stats`: what is in the database, how large it is, and the settings of pool and caches."""

from pathlib import Path
from typing import Any

from gatewaydb import Database, DatabaseConfig
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options, location
from gatewaydb.cli.output import console, plain, show_fields, show_json, table

TABLES = (
    "api_keys",
    "api_key_metadata",
    "models",
    "price_components",
    "model_aliases",
    "model_alias_tags",
    "providers",
    "usage_records",
    "monthly_usage_summaries",
)


async def stats(*, options: Options = DEFAULT_OPTIONS) -> None:
    """Show the rows of each table, the size of the database, and the settings of connections and caches.

    Counters of hits and waits belong to one process: a gateway reads its own from db.stats().
    """
    config = options.config
    async with options.opened() as db:
        await db.health()
        report: dict[str, Any] = {
            "database": location(config),
            "engine": "sqlite" if config.is_sqlite else "postgresql",
            "size_bytes": await _size(db, config),
            "tables": await _rows(db),
            "this_process": plain(db.stats()),
        }
    if options.json:
        show_json(report)
    else:
        show_fields(
            {"database": report["database"], "engine": report["engine"], "size": _readable(report["size_bytes"])}
            | {"connections": f"{config.max_open_conns} at most, {config.max_idle_conns} idle"}
            | {"API key cache": f"{config.api_key_cache_size:,} entries for {config.api_key_cache_ttl}"}
            | {"model cache": f"{config.model_cache_size:,} entries for {config.model_cache_ttl}"}
        )
        console().print(table(("table", ">rows"), list(report["tables"].items())))


async def _rows(db: Database) -> dict[str, int]:
    """Counted one table at a time, so that no transaction stays open for long."""
    counts = {}
    for name in TABLES:
        async with db.transaction() as tx:
            [row] = await tx.fetch(f"SELECT count(*) AS n FROM {name}")  # noqa: S608
        counts[name] = row["n"]
    return counts


async def _size(db: Database, config: DatabaseConfig) -> int:
    """Bytes on disk; on SQLite with the write-ahead log, on PostgreSQL all of the database."""
    if not config.is_sqlite:
        async with db.transaction() as tx:
            [row] = await tx.fetch("SELECT pg_database_size(current_database()) AS n")
        return int(row["n"])
    files = [Path(f"{config.sqlite_path}{ending}") for ending in ("", "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())


def _readable(size: int) -> str:
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.1f} {unit}" if unit != "bytes" else f"{size} bytes"
        number /= 1024
    return f"{number:.1f} TiB"
