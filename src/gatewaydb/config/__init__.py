"""Every setting and every limit of the package, in one place.

A `DatabaseConfig` comes from code, from a URL (`DatabaseConfig.from_url`) or from the environment
(`DatabaseConfig.from_env`). Whatever is unknown or impossible is a ConfigurationError that names the setting.
"""

import dataclasses
import difflib
import os
import typing
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from gatewaydb.config.urls import check_read_url, check_url, hint, refuse_open_password, split_query, without_password
from gatewaydb.config.values import CONVERT
from gatewaydb.errors import ConfigurationError

NAME_MAX_CHARS = 255
HASH_MAX_CHARS = 128
TEXT_MAX_CHARS = 10_000
METADATA_MAX_BYTES = 1_000_000
ALLOWED_MODELS_MAX = 1_000
PAGE_MAX_ROWS = 10_000
SEARCH_MAX_ROWS = 1_000
CATALOG_MAX_BYTES = 64 * 2**20
COUNT_MAX = 2**53
# One picodollar is the unit in which costs are exact; with this bound a cost fits 63 bits on SQLite.
COST_MAX_USD = 9_000_000
BUDGET_MAX_USD = 10**15
JOURNAL_MAX_BYTES = 2**30
JOURNAL_MIN_BYTES = 2**16
JOURNAL_SEGMENT_BYTES = 16 * 2**20
SHIPPING_BATCH_MAX_RECORDS = 2_000

CLEANUP_INTERVAL = timedelta(minutes=1)
# How long closing waits for what is running.
CLOSE_TIMEOUT = timedelta(seconds=5)
DATA_VERSION_INTERVAL = timedelta(milliseconds=50)
CHANGE_POLL_INTERVAL_MAX = timedelta(minutes=5)
CATALOG_TIMEOUT = timedelta(minutes=1)
SHIPPING_BACKOFF_FIRST = timedelta(milliseconds=100)
SHIPPING_BACKOFF_MAX = timedelta(seconds=5)
RECORDER_CLOSE_TIMEOUT = timedelta(seconds=5)
DEFAULT_SQLITE_URL = "sqlite:///llmgateway.db"
CACHE_POLICIES = ("lru", "sieve")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class _Settings(type):
    """Takes the settings out of a URL's query, and turns an unknown name into our own error."""

    def __call__(cls, **settings: Any) -> Any:
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        for name in settings:
            if name not in known:
                raise ConfigurationError(f"unknown setting {name!r}{hint(name, known)}")
        url = settings.get("url")
        if isinstance(url, str):
            refuse_open_password(url)
            place, in_query = split_query(url, [name for name in known if name not in _NOT_IN_URLS])
            settings = {**in_query, **settings, "url": place}
        return super().__call__(**settings)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class DatabaseConfig(metaclass=_Settings):
    """Where the database is and how it is used.

    `url` (sqlite:///file.db or postgresql://...) wins over host, port, database, user and password; with none of them
    it is SQLite in ./llmgateway.db. Durations are timedeltas, or text such as "5m" or "1h30m". Raises
    ConfigurationError.
    """

    url: str | None = None
    host: str | None = None
    port: int | None = None
    database: str | None = None
    user: str | None = None
    password: str | None = None
    ssl_mode: str | None = None
    max_open_conns: int = 25
    max_idle_conns: int = 5
    conn_max_lifetime: timedelta = timedelta(minutes=5)
    conn_max_idle_time: timedelta = timedelta(minutes=1)
    query_timeout: timedelta = timedelta(seconds=5)
    # False where a pooler hands each transaction another server connection (PgBouncer's transaction mode).
    prepared_statements: bool = True
    # False where a pooler does not pass NOTIFY on; without prepared statements it is taken for granted.
    change_notifications: bool = True
    change_poll_interval: timedelta = timedelta(seconds=1)
    api_key_cache_size: int = 1000
    api_key_cache_ttl: timedelta = timedelta(minutes=5)
    model_cache_size: int = 500
    model_cache_ttl: timedelta = timedelta(minutes=15)
    cache_policy: str = "lru"
    # Made-up keys and names: each is asked for once in `absent_ttl`.
    absent_size: int = 10_000
    absent_ttl: timedelta = timedelta(seconds=5)
    # How long what has expired goes on serving while the database is down.
    stale_if_error: timedelta = timedelta(minutes=5)
    # Fernet keys for provider credentials, comma-separated: the first encrypts, all of them decrypt.
    encryption_keys: str | None = None
    # A replica for reports, by a whole URL of its own.
    read_url: str | None = None

    if typing.TYPE_CHECKING:
        # What it takes is wider than what it holds.
        def __init__(  # noqa: PLR0913
            self,
            *,
            url: str | None = None,
            host: str | None = None,
            port: int | str | None = None,
            database: str | None = None,
            user: str | None = None,
            password: str | None = None,
            ssl_mode: str | None = None,
            max_open_conns: int | str = ...,
            max_idle_conns: int | str = ...,
            conn_max_lifetime: timedelta | str = ...,
            conn_max_idle_time: timedelta | str = ...,
            query_timeout: timedelta | str = ...,
            prepared_statements: bool | str = ...,
            change_notifications: bool | str = ...,
            change_poll_interval: timedelta | str = ...,
            api_key_cache_size: int | str = ...,
            api_key_cache_ttl: timedelta | str = ...,
            model_cache_size: int | str = ...,
            model_cache_ttl: timedelta | str = ...,
            cache_policy: str = ...,
            absent_size: int | str = ...,
            absent_ttl: timedelta | str = ...,
            stale_if_error: timedelta | str = ...,
            encryption_keys: str | None = None,
            read_url: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, CONVERT[field.type](field.name, value))
        self._check()

    def _check(self) -> None:
        if self.max_idle_conns > self.max_open_conns:
            object.__setattr__(self, "max_idle_conns", self.max_open_conns)
        if self.ssl_mode is not None and self.ssl_mode not in SSL_MODES:
            raise ConfigurationError(f"ssl_mode: {self.ssl_mode!r} is none of {', '.join(SSL_MODES)}")
        if self.cache_policy not in CACHE_POLICIES:
            raise ConfigurationError(f"cache_policy: {self.cache_policy!r} is none of {', '.join(CACHE_POLICIES)}")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}: must be at least 1")
        if self.query_timeout <= timedelta(0):
            raise ConfigurationError("query_timeout: must be longer than 0")
        if not timedelta(0) < self.change_poll_interval <= CHANGE_POLL_INTERVAL_MAX:
            raise ConfigurationError("change_poll_interval: must be longer than 0 and at most 5m")
        if self.url is not None:
            check_url(self.url)
        if self.read_url is not None:
            check_read_url(self.read_url, self.is_sqlite)

    @classmethod
    def from_url(cls, url: str, **settings: Any) -> "DatabaseConfig":
        """Settings may stand in the URL's query: `postgresql://host/db?max_open_conns=10&query_timeout=2s`."""
        return cls(url=url, **settings)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "DatabaseConfig":
        """DATABASE_URL, DATABASE_HOST, ..., CACHE_API_KEY_SIZE, CACHE_API_KEY_TTL, ...; GATEWAYDB_ENCRYPTION_KEYS.

        Other programs' DATABASE_... variables are left alone, unless one looks like a misspelling of ours.
        """
        env = os.environ if environ is None else environ
        for name in env:
            if name.startswith(("DATABASE_", "CACHE_")) and name not in ENVIRONMENT:
                close = difflib.get_close_matches(name, ENVIRONMENT, n=1, cutoff=0.87)
                if close:
                    raise ConfigurationError(f"unknown setting {name} in the environment; did you mean {close[0]}?")
        settings: dict[str, Any] = {setting: env[name] for name, setting in ENVIRONMENT.items() if env.get(name)}
        return cls(**settings)

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded engine is meant."""
        if self.url is None:
            return all(getattr(self, name) is None for name in _PLACE)
        return urlsplit(self.url).scheme == "sqlite"

    @property
    def sqlite_path(self) -> str | None:
        """The file's path as SQLAlchemy's URLs write it (three slashes: relative, four: absolute); None: in memory."""
        path = unquote(urlsplit(self.url or DEFAULT_SQLITE_URL).path)[1:]
        return None if path in ("", ":memory:") else path

    @property
    def shown(self) -> dict[str, Any]:
        """Every setting, for people's eyes: whatever could be a secret is `***`."""
        shown = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        shown |= {name: "***" for name in ("password", "encryption_keys") if shown[name] is not None}
        return shown | {name: without_password(shown[name]) for name in ("url", "read_url") if shown[name] is not None}

    def __repr__(self) -> str:
        shown = self.shown
        changed = [field.name for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
        return f"DatabaseConfig({', '.join(f'{name}={shown[name]!r}' for name in changed)})"


_PLACE = ("url", "host", "port", "database", "user", "password")
_NOT_IN_URLS = (*_PLACE, "read_url")
_AT_LEAST_ONE = ("max_open_conns", "api_key_cache_size", "model_cache_size", "absent_size")

ENVIRONMENT: dict[str, str] = {
    **{f"DATABASE_{field.name.upper()}": field.name for field in dataclasses.fields(DatabaseConfig)},
    **{
        f"CACHE_{noun.upper()}_{what.upper()}": f"{noun}_cache_{what}"
        for noun in ("api_key", "model")
        for what in ("size", "ttl")
    },
    "CACHE_POLICY": "cache_policy",
    **{f"CACHE_{name.upper()}": name for name in ("absent_size", "absent_ttl", "stale_if_error")},
    "GATEWAYDB_ENCRYPTION_KEYS": "encryption_keys",
}
"""Environment variable -> setting."""
