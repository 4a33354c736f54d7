"""`gatewaydb stats`: what is in the database, how large it is, and the settings."""

from typing import Any

from gatewaydb.cli.options import DEFAULT_OPTIONS, Options, location
from gatewaydb.cli.output import console, plain, show_fields, show_json, table

_IN_LOCATION = ("url", "host", "port", "database", "user", "password")


async def stats(*, options: Options = DEFAULT_OPTIONS) -> None:
    """Show the rows of each table, the size of the database, and the settings that are in force here.

    Counters of hits and waits belong to one process: a gateway reads its own from db.stats(), or has Prometheus do so.
    """
    config = options.config
    async with options.opened() as db:
        contents = await db.contents()
        report: dict[str, Any] = {
            "database": location(config),
            "engine": "sqlite" if config.is_sqlite else "postgresql",
            "size_bytes": contents.size_bytes,
            "tables": contents.rows,
            "settings": {name: value for name, value in config.shown.items() if name not in _IN_LOCATION},
            "this_process": plain(db.stats()),
        }
    if options.json:
        show_json(report)
    else:
        show_fields(
            {"database": report["database"], "engine": report["engine"], "size": _readable(report["size_bytes"])}
        )
        console().print(table(("table", ">rows"), list(report["tables"].items())))
        console().print(table(("setting", "value"), list(report["settings"].items())))


def _readable(size: int) -> str:
    number = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.1f} {unit}" if unit != "bytes" else f"{size} bytes"
        number /= 1024
    return f"{number:.1f} TiB"
