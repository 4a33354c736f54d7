"""Fresh databases on both engines, in a place that is gone afterwards. Commits wait for the disk on both."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self, TypeVar

from benchmarks.harness import Sizes
from gatewaydb import Database
from tests.postgres_server import PostgresServer

T = TypeVar("T")
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
ENGINES = (SQLITE, POSTGRES)


class Bench:
    """What a benchmark is given: how much to do, and databases to do it on."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._open = ExitStack()
        self._made = 0

    async def make_database(self, engine: str) -> str:
        """The URL of a new database with its tables. PostgreSQL is started for the first one."""
        self._made += 1
        name = f"bench_{self._made}"
        if engine == SQLITE:
            url = f"sqlite:///{self._directory / name}.db"
        else:
            await asyncio.to_thread(self._server.create_database, name)
            url = self._server.url(name)
        await Database(url).migrate()
        return url

    def versions(self) -> dict[str, str]:
        """What the databases are; without PostgreSQL where nothing has asked for it."""
        versions = {SQLITE: sqlite3.sqlite_version}
        if "_server" in vars(self):
            versions[POSTGRES] = self._server.psql("SHOW server_version").split()[0]
        return versions

    @cached_property
    def _directory(self) -> Path:
        return Path(self._open.enter_context(TemporaryDirectory(prefix="gatewaydb-bench-")))

    @cached_property
    def _server(self) -> PostgresServer:
        return self._open.enter_context(PostgresServer(durable=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


async def on_engines(bench: Bench, measure: Callable[[Bench, str], Awaitable[list[T]]]) -> list[T]:
    """What is measured on each engine, one after the other."""
    return [row for engine in ENGINES for row in await measure(bench, engine)]
