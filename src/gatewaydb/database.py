"""The composition root: opens an engine, wires the repositories and caches to it, and closes them."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from operator import attrgetter
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

import msgspec

from gatewaydb.cache import CacheStats
from gatewaydb.clock import SYSTEM_CLOCK, Clock, Timer
from gatewaydb.config import CLEANUP_INTERVAL, JOURNAL_MAX_BYTES, DatabaseConfig
from gatewaydb.credentials import CredentialCipher
from gatewaydb.engines import (
    ChangeFeed,
    ChangeFeedStats,
    PoolStats,
    Row,
    SchemaStatus,
    Transaction,
    make_engine,
    migrate,
    require_current_schema,
    schema_status,
)
from gatewaydb.errors import GatewayDBError
from gatewaydb.metering import (
    PartitionKeeper,
    PruneReport,
    RecorderStats,
    UsageRecorder,
    VerificationReport,
    WhenFull,
    prune,
    verify,
)
from gatewaydb.repositories import Caches, Repositories
from gatewaydb.repositories.api_keys import NOUN as API_KEYS
from gatewaydb.repositories.models import NOUN as MODELS


class DatabaseStats(PoolStats, frozen=True, kw_only=True):
    """The numbers of the pool, the caches, the watch for others' changes and the open recorders at one moment."""

    api_key_cache: CacheStats
    model_cache: CacheStats
    change_feed: ChangeFeedStats
    recorders: tuple[RecorderStats, ...] = ()


class DatabaseContents(msgspec.Struct, frozen=True, kw_only=True):
    """What a database holds: its bytes on disk (on SQLite without the log), and the rows of each table."""

    size_bytes: int
    rows: dict[str, int]


class WarmedEntries(NamedTuple):
    """How many entries `Database.warm` loaded."""

    api_keys: int
    models: int


class DatabaseTransaction(Repositories):
    """An open transaction: the same repositories, which see its own state, and SQL of one's own."""

    def __init__(self, transaction: Transaction, cipher: CredentialCipher) -> None:
        super().__init__(transaction, Caches.none(transaction.clock), cipher, is_cached=False)
        self._transaction = transaction
        self._cipher = cipher

    async def execute(self, sql: str, *arguments: Any) -> int:
        """Runs one statement with the placeholders $1, $2, ... (SQLite takes ?, too); gives the rows it changed."""
        return await self._transaction.execute_sql(sql, arguments)

    async def fetch(self, sql: str, *arguments: Any) -> list[Row]:
        """As `execute`; gives the rows as dicts, with the types that the driver has for them."""
        return await self._transaction.fetch_sql(sql, arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Self]:
        """A savepoint: what fails inside is undone, and the transaction goes on."""
        async with self._transaction.transaction():
            yield self


class Database(Repositories):
    """The data layer of one process, on one event loop.

    `Database("sqlite:///llmgateway.db")`, `Database("postgresql://...")`, `Database(DatabaseConfig(...))`, or
    `Database()` for what the environment says. Use it as `async with`, or call `open` and `close`. A new SQLite file is
    made on `open`; any other database has to have the schema of this code, else it is a SchemaVersionError.
    """

    def __init__(self, config: DatabaseConfig | str | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        if isinstance(config, str):
            config = DatabaseConfig(url=config)
        self.config = config or DatabaseConfig.from_env()
        self._clock = clock
        self._feed = ChangeFeed()
        self._engine = make_engine(self.config, clock, self._feed)
        self._caches = Caches.of(self.config, clock)
        self._cipher = CredentialCipher(self.config.encryption_keys)
        self._cleanup: Timer | None = None
        self._partitions = PartitionKeeper(self._engine)
        self._recorders: set[UsageRecorder] = set()
        super().__init__(self._engine, self._caches, self._cipher, is_cached=True)
        self._feed.subscribe(API_KEYS, self.api_keys.apply_change)
        self._feed.subscribe(MODELS, self.models.apply_change)

    async def open(self) -> None:
        """Connects. Raises DatabaseUnavailableError, SchemaVersionError, ConfigurationError."""
        if self._cleanup is not None:
            raise GatewayDBError("this database is open already")
        await self._engine.open()
        try:
            if self._engine.dialect == "sqlite" and (await schema_status(self._engine)).current == 0:
                await migrate(self._engine)
            await require_current_schema(self._engine)
            await self._engine.watch.start()
        except BaseException:
            await self._engine.close()
            raise
        await self._partitions.start()
        self._clean_up_later()

    async def close(self) -> None:
        """Waits up to 5 s for what is running, cuts off what still is, and disconnects. Harmless on a closed database.

        Its recorders are closed first: what they cannot ship within five seconds stays in their journals. Raises
        GatewayDBError on another event loop than that of `open`, unless that one has ended.
        """
        self._engine.require_for_closing()
        if self._cleanup is not None:
            self._cleanup.cancel()
            self._cleanup = None
        async with AsyncExitStack() as last_first:
            for cache in self._caches:
                last_first.callback(cache.close)
            last_first.push_async_exit(self._close_engine)
            last_first.push_async_callback(self._close_recorders)
            last_first.push_async_callback(self._partitions.stop)

    def recorder(
        self, path: str | os.PathLike[str], *, max_bytes: int = JOURNAL_MAX_BYTES, when_full: WhenFull = "wait"
    ) -> UsageRecorder:
        """Usage that does not wait for the database: `await recorder.record(record)` is safe on local disk.

        `path` is a folder for the journal, of this recorder alone; it is made if need be. A database that is down, or
        not open yet, only delays what is recorded. At `max_bytes` of journal callers wait for room, or get
        UsageBacklogFull with `when_full="raise"`. Raises ConfigurationError.
        """
        clock = self._clock
        return UsageRecorder(
            self.usage, path, max_bytes=max_bytes, when_full=when_full, clock=clock, opened=self._recorders
        )

    async def migrate(self) -> Sequence[str]:
        """Brings a closed database to the schema of this code; gives the names of what was applied.

        Processes that do it at once do it once. Raises SchemaVersionError, DatabaseUnavailableError.
        """
        await self._engine.open()
        try:
            return [migration.name for migration in await migrate(self._engine)]
        finally:
            await self._engine.close()

    async def schema_status(self) -> SchemaStatus:
        """The schema's version and what `migrate` would apply, of a closed database."""
        await self._engine.open()
        try:
            return await schema_status(self._engine)
        finally:
            await self._engine.close()

    async def health(self) -> None:
        """Returns when the database answers; raises DatabaseUnavailableError when it does not."""
        await self._engine.health()

    def stats(self) -> DatabaseStats:
        """Connections, caches, the changes of others and open recorders, now and since the database was made.

        It reads numbers and waits for nothing, so that any thread may call it, on an open database or a closed one.
        """
        pool = self._engine.stats()
        return DatabaseStats(
            **{name: getattr(pool, name) for name in pool.__struct_fields__},
            api_key_cache=self.api_keys.cache_stats(),
            model_cache=self.models.cache_stats(),
            change_feed=self._engine.watch.stats(),
            recorders=tuple(sorted((each.stats() for each in tuple(self._recorders)), key=attrgetter("path"))),
        )

    async def contents(self) -> DatabaseContents:
        """The size of the database and the rows of its tables, counted now: a report, which takes its time."""
        size = await self._engine.fetch_one("contents_size")
        rows = await self._engine.fetch_all("contents_rows")
        return DatabaseContents(
            size_bytes=size["total"] if size else 0, rows={row["name"]: row["total"] for row in rows}
        )

    async def verify_usage(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        api_key_id: UUID | None = None,
        repair: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> VerificationReport:
        """Proves that usage records, daily and monthly summaries agree, month by month (UTC), beside writers.

        `repair` sums anew what does not. See `gatewaydb.metering.verify`.
        """
        refresh = self.monthly_summaries.refresh_summary
        return await verify(self._engine, refresh, start, end, api_key_id=api_key_id, repair=repair, progress=progress)

    async def prune_usage(
        self,
        *,
        older_than: timedelta | None = None,
        before: datetime | None = None,
        detach: bool = False,
        dry_run: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> PruneReport:
        """Removes the usage records of the months (UTC) that had ended by then; their summaries stay.

        Records of that time that come later are refused. See `gatewaydb.metering.prune`.
        """
        return await prune(
            self._engine, older_than=older_than, before=before, detach=detach, dry_run=dry_run, progress=progress
        )

    def cleanup_expired_cache_entries(self) -> tuple[int, int]:
        """Takes expired entries out; gives (API keys, models) removed. It also runs every minute by itself.

        While the database is down they can still stand in, until `stale_if_error` has passed or their room is needed.
        """
        return self._caches.api_keys.cleanup(), self._caches.models.cleanup()

    async def warm(self, limit: int | None = None) -> WarmedEntries:
        """Loads the keys and models whose last use is the latest, so that a new process begins with hits.

        At most `limit` of each, and no more than there is room for: nothing leaves a cache for it. `open` does not do
        this by itself. Raises DatabaseUnavailableError, QueryTimeoutError, InvalidValueError.
        """
        return WarmedEntries(await self.api_keys.warm(limit), await self.models.warm(limit))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[DatabaseTransaction]:
        """Commits when the block ends, rolls back when it raises. Opened inside another of the task: a savepoint.

        What it changed leaves the caches after the commit, and only then.
        """
        outer = self._engine.transaction_of_task
        async with (self._engine if outer is None else outer).transaction() as transaction:
            yield DatabaseTransaction(transaction, self._cipher)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _close_recorders(self) -> None:
        await asyncio.gather(*(recorder.close() for recorder in self._recorders))

    async def _close_engine(self, error: type[BaseException] | None, *_: object) -> None:
        await self._engine.close(at_once=error is not None)

    def _clean_up_later(self) -> None:
        self._cleanup = self._clock.call_later(CLEANUP_INTERVAL.total_seconds(), self._clean_up_and_again)

    def _clean_up_and_again(self) -> None:
        self.cleanup_expired_cache_entries()
        self._clean_up_later()
