"""What every command takes: which database, and how to show what it finds."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Group, Parameter

from gatewaydb import Database, DatabaseConfig
from gatewaydb.cli.errors import UsageError
from gatewaydb.cli.output import note
from gatewaydb.cli.values import Whole
from gatewaydb.config.urls import without_password

F = TypeVar("F", bound=Callable[..., Any])

_COMMON = Group("Common", sort_key=100)
_PAGE = Group("Page", sort_key=90)


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """The options that all commands have."""

    database: Annotated[
        str | None,
        Parameter(
            group=_COMMON,
            help="postgresql://user@host/name or sqlite:///file.db. Without it: DATABASE_URL and the other variables "
            "of the environment, else SQLite in ./llmgateway.db.",
        ),
    ] = None
    json: Annotated[bool, Parameter(group=_COMMON, show_default=False, help="Print JSON, for programs.")] = False

    @property
    def config(self) -> DatabaseConfig:
        """The environment's configuration, with the database of `--database`. Raises ConfigurationError."""
        if self.database is None:
            return DatabaseConfig.from_env()
        if not self.database.strip():
            raise UsageError("--database: must not be empty")
        return DatabaseConfig.from_env({**os.environ, "DATABASE_URL": self.database})

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        """The database, open. A new SQLite file is announced: its name may be a typing error."""
        config = self.config
        is_new = is_missing(config)
        async with Database(config) as db:
            if is_new:
                note(f"made a new database, {location(config)}")
            yield db


@Parameter(name="*")
@dataclass(frozen=True)
class Page:
    """Which part of a list is shown."""

    limit: Annotated[Whole, Parameter(group=_PAGE, help="Rows at most.")] = 50
    offset: Annotated[Whole, Parameter(group=_PAGE, show_default=False, help="Rows to leave out at the start.")] = 0

    def note_if_full(self, shown: int) -> None:
        """Tells people that there may be more."""
        if shown and shown == self.limit:
            note(f"{shown} shown; for more: --offset {self.offset + shown}")


DEFAULT_OPTIONS = Options()
DEFAULT_PAGE = Page()


def group(name: str, description: str) -> App:
    """The commands of one noun."""
    return App(name=name, help=description, help_epilogue=in_help(f"{name} COMMAND --help"))


def command(app: App, *examples: str, name: str | None = None) -> Callable[[F], F]:
    """Makes a function a command of the app, under its own name or another; the examples close its help page."""

    def register(function: F) -> F:
        app.command(function, name=name, help_epilogue=in_help(*examples))
        return function

    return register


def in_help(*examples: str) -> str:
    """Examples as the end of a help page."""
    return "\n".join(["Examples:", *(f"  gatewaydb {example}" for example in examples)])


def is_missing(config: DatabaseConfig) -> bool:
    """Whether it names an SQLite file that is not there."""
    return config.is_sqlite and config.sqlite_path is not None and not Path(config.sqlite_path).exists()


def location(config: DatabaseConfig) -> str:
    """Where the database is, for people; without any password."""
    if config.is_sqlite:
        return config.sqlite_path or "SQLite in memory"
    if config.url is not None:
        return without_password(config.url)
    return f"postgresql://{config.host or 'localhost'}:{config.port or 5432}/{config.database or ''}"
