"""Numbered SQL files per engine, applied once each, in order, by one process at a time, and never edited afterwards."""

import hashlib
from functools import cache
from importlib import resources
from typing import NamedTuple

from gatewaydb.engines.base import CREATE_BOOKKEEPING, MIGRATION_LOCK
from gatewaydb.engines.engine import Engine
from gatewaydb.engines.statements import Dialect
from gatewaydb.errors import SchemaVersionError


class Migration(NamedTuple):
    """One file: `0001_initial.sql`."""

    version: int
    name: str
    sql: str
    checksum: str

    @property
    def script(self) -> str:
        """The file and its line in schema_migrations."""
        return (
            f"{self.sql.rstrip()}\n\nINSERT INTO schema_migrations (version, name, checksum, applied_at)\n"
            f"VALUES ({self.version}, '{self.name}', '{self.checksum}', CURRENT_TIMESTAMP);\n"
        )


class SchemaStatus(NamedTuple):
    """`current` is the version of the database (0: no schema yet), `expected` that of this code."""

    current: int
    expected: int
    pending: tuple[Migration, ...]


@cache
def packaged_migrations(dialect: Dialect) -> tuple[Migration, ...]:
    """What this version of the package brings, in order."""
    folder = resources.files("gatewaydb.migrations") / dialect
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(_read(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files)


def _read(name: str, sql: str) -> Migration:
    return Migration(int(name.partition("_")[0]), name, sql, hashlib.sha256(sql.encode()).hexdigest())


async def schema_status(engine: Engine) -> SchemaStatus:
    """Compares the database with the code. Raises SchemaVersionError where they have no common past."""
    return _compare(engine.dialect, await engine.applied_migrations())


async def require_current_schema(engine: Engine) -> None:
    """Raises SchemaVersionError, saying what to run, unless the schema is exactly the one of this code."""
    status = await schema_status(engine)
    if status.current == 0:
        raise SchemaVersionError("this database has no gatewaydb schema yet; run: gatewaydb migrate")
    if status.pending:
        raise SchemaVersionError(
            f"the schema is at version {status.current}, this code needs {status.expected}; run: gatewaydb migrate"
        )


async def migrate(engine: Engine) -> tuple[Migration, ...]:
    """Applies what is pending, all or nothing, and gives it. Of processes that start at once, one does the work."""
    async with engine.migrating() as session:
        status = _compare(engine.dialect, await session.applied())
        for migration in status.pending:
            await session.run_script(migration.script)
    return status.pending


def migration_script(dialect: Dialect, after: int = 0) -> str:
    """The SQL that `migrate` would run on a database of version `after`, for those who apply it by hand."""
    begin = f"BEGIN;\n{MIGRATION_LOCK};\n" if dialect == "postgres" else "BEGIN IMMEDIATE;\n"
    scripts = [migration.script for migration in packaged_migrations(dialect) if migration.version > after]
    return "\n".join([begin + CREATE_BOOKKEEPING, *scripts, "COMMIT;\n"])


def _compare(dialect: Dialect, applied: list[tuple[int, str]]) -> SchemaStatus:
    packaged = packaged_migrations(dialect)
    expected = packaged[-1].version
    for (version, checksum), migration in zip(applied, packaged, strict=False):
        if (version, checksum) != (migration.version, migration.checksum):
            raise SchemaVersionError(
                f"migration {version} of this database is not the one of this code ({migration.name}); "
                "run the version of gatewaydb that made the database"
            )
    if len(applied) > len(packaged):
        raise SchemaVersionError(
            f"the schema is at version {applied[-1][0]}, this code knows {expected}; run: pip install -U gatewaydb"
        )
    return SchemaStatus(applied[-1][0] if applied else 0, expected, packaged[len(applied) :])
