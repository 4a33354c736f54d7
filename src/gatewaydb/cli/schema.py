"""The database itself: making it, migrating it, and whether it is ready."""

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from gatewaydb import Database, DatabaseConfig, GatewayDBError
from gatewaydb.cli.errors import FAILED, UsageError
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options, is_missing, location
from gatewaydb.cli.output import note, say, show_fields, show_json
from gatewaydb.cli.values import Whole
from gatewaydb.engines import Dialect, SchemaStatus, migration_script

_NEXT = """\
Next:
  gatewaydb models import                           load the models and their prices
  gatewaydb keys create production --budget 1000    issue an API key
  gatewaydb status                                  see that all is well"""


async def init(*, options: Options = DEFAULT_OPTIONS) -> None:
    """Make the database, or bring it up to date, and say what to do next."""
    config = options.config
    applied = await Database(config).migrate()
    status = await Database(config).schema_status()
    if options.json:
        show_json({"database": location(config), "applied": applied, "schema_version": status.current})
    else:
        done = "is ready" if applied else "was ready already"
        say(f"The database {location(config)} {done}, at schema version {status.current}.")
        if options.database is not None:
            note("Set DATABASE_URL to this database, or give --database to each command.")
        say(_NEXT)


async def migrate(
    *,
    sql: Annotated[bool, Parameter(show_default=False)] = False,
    from_version: Annotated[Whole | None, Parameter(name="--from")] = None,
    options: Options = DEFAULT_OPTIONS,
) -> None:
    """Bring the database to the schema of this version. Processes that do it at once do it once.

    Parameters
    ----------
    sql
        Change nothing: print the SQL that would run, for those who apply it by hand.
    from_version
        With --sql: everything after this version (0: all of it), without asking the database.
    """
    if from_version is not None and (not sql or from_version < 0):
        raise UsageError("--from: goes with --sql, and is 0 or more")
    if sql:
        await _print_sql(options, from_version)
    else:
        await _migrate(options)


async def status(*, options: Options = DEFAULT_OPTIONS) -> int:
    """Show the schema's version and whether the database answers. The exit code is 1 unless it is ready."""
    report = await _report(options.config)
    if options.json:
        show_json(report)
    else:
        show_fields({name.replace("_", " "): value for name, value in report.items()})
    return 0 if report["ready"] else FAILED


async def _migrate(options: Options) -> None:
    config = options.config
    applied = await Database(config).migrate()
    if options.json:
        show_json({"database": location(config), "applied": applied})
    else:
        say("\n".join(f"applied {name}" for name in applied) or "nothing to do: the schema is up to date")


async def _print_sql(options: Options, from_version: int | None) -> None:
    config = options.config
    if from_version is None:
        found = await _schema_status(config)
        from_version = found.current if found.pending else None
    dialect: Dialect = "sqlite" if config.is_sqlite else "postgres"
    script = "" if from_version is None else migration_script(dialect, after=from_version)
    if options.json:
        show_json({"sql": script})
    elif script:
        sys.stdout.write(script)
    else:
        note("nothing to do: the schema is up to date")


async def _report(config: DatabaseConfig) -> dict[str, Any]:
    report: dict[str, Any] = {
        "database": location(config),
        "engine": "sqlite" if config.is_sqlite else "postgresql",
        "health": "ok",
        "schema_version": None,
        "expected_version": None,
        "pending": [],
        "ready": False,
    }
    try:
        found = await _schema_status(config)
    except GatewayDBError as error:
        return report | {"health": str(error)}
    pending = [migration.name for migration in found.pending]
    health = "no such file; run: gatewaydb init" if is_missing(config) else "ok"
    return report | {
        "health": health,
        "schema_version": found.current,
        "expected_version": found.expected,
        "pending": pending,
        "ready": not pending and health == "ok",
    }


async def _schema_status(config: DatabaseConfig) -> SchemaStatus:
    # Opening an SQLite file makes it; looking should not.
    return await Database("sqlite://" if is_missing(config) else config).schema_status()
