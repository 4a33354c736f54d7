"""Which servers a configuration names, and a connection to the one that serves."""

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

from gatewaydb.config import DatabaseConfig
from gatewaydb.engines.changes import NotConnectedError
from gatewaydb.engines.postgres_errors import DRIVER_ERRORS, message, translated
from gatewaydb.errors import ConfigurationError, DatabaseUnavailableError, GatewayDBError, QueryTimeoutError


class Host(NamedTuple):
    """A server; None is for what libpq's variables say, or its defaults."""

    name: str | None
    port: int | None

    @property
    def arguments(self) -> dict[str, Any]:
        """For asyncpg."""
        return {"host": self.name, "port": self.port} if self.name else {"port": self.port}

    def __str__(self) -> str:
        return ":".join(str(part) for part in self if part is not None)


class PostgresHosts:
    """Connects to the first server that answers in time and is what `target_session_attrs` wants.

    That is `read-write` where several are named and nothing else is said. The one that served last is asked first. One
    that does not answer gets `connect_timeout`, or else its share of `query_timeout`, and no more.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        said = _said_in(config.url)
        self._hosts = _hosts(said.get("host") or config.host, said.get("port") or config.port)
        self._timeout_s = config.query_timeout.total_seconds()
        self._host_timeout_s = _seconds(said.pop("connect_timeout", "0"))
        self._arguments = _connect_arguments(config, said)
        wanted = said.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
        self._wanted = wanted or ("read-write" if len(self._hosts) > 1 else None)

    async def connect(self, **options: Any) -> Any:
        """A connection; `options` are asyncpg's. Raises DatabaseUnavailableError, ConfigurationError, ValueError."""
        errors: dict[Host, Exception] = {}
        attempts = list(self._attempts())
        now = asyncio.get_running_loop().time
        deadline = now() + self._timeout_s
        for number, (host, wanted) in enumerate(attempts):
            left_s = max(deadline - now(), 0.001)
            share_s = min(left_s, self._host_timeout_s) or left_s / (len(attempts) - number)
            try:
                connection = await asyncpg.connect(
                    **self._arguments, **options, **host.arguments, target_session_attrs=wanted, timeout=share_s
                )
            except DRIVER_ERRORS as error:
                errors[host] = error
            else:
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return connection
        raise _nobody_served(errors)

    def _attempts(self) -> Iterator[tuple[Host, Any]]:
        rounds = ("standby", "any") if self._wanted == "prefer-standby" else (self._wanted,)
        return ((host, wanted) for wanted in rounds for host in self._hosts)


def _nobody_served(errors: Mapping[Host, Exception]) -> GatewayDBError:
    for error in map(translated, errors.values()):
        if not isinstance(error, DatabaseUnavailableError | QueryTimeoutError):
            return error
    if len(errors) == 1:
        return NotConnectedError(f"PostgreSQL: {_why_not(*errors.values())}")
    each = "; ".join(f"{host}: {_why_not(error)}" for host, error in errors.items())
    return NotConnectedError(f"PostgreSQL: no server serves: {each}")


def _why_not(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "not what target_session_attrs wants"
    return message(error)


def _said_in(url: str | None) -> dict[str, str]:
    """What the URL says, by libpq's names."""
    parts = urlsplit(url or "")
    login, _, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    said = {"host": place, "user": user, "password": password, "dbname": parts.path[1:]}
    return dict(parse_qsl(parts.query)) | {name: unquote(value) for name, value in said.items() if value}


def _hosts(names: str | None, port: str | int | None) -> list[Host]:
    if not names:
        return [Host(None, None if port is None else int(port))]
    parts, ports = names.split(","), str(port or "").split(",")
    if len(ports) not in (1, len(parts)):
        raise ConfigurationError(f"url: {len(ports)} ports for {len(parts)} hosts")
    return [_host(part, port) for part, port in zip(parts, ports * (len(parts) // len(ports)), strict=True)]


def _host(text: str, port: str) -> Host:
    name, own = text, ""
    if text.startswith("["):
        name, _, own = text[1:].partition("]")
        own = own.removeprefix(":")
    elif text.count(":") == 1 and not text.startswith("/"):
        name, _, own = text.partition(":")
    number = own or port
    is_port = number.isascii() and number.isdigit() and 1 <= int(number) <= 65_535
    if not name or (number and not is_port):
        raise ConfigurationError("url: each of its hosts must be a name, or name:port with a port from 1 to 65535")
    return Host(name, int(number) if number else None)


def _seconds(text: str) -> float:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError("url: connect_timeout is a whole number of seconds")
    return float(text)


def _connect_arguments(config: DatabaseConfig, said: Mapping[str, str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        # asyncpg would send what it does not know to the server, as a setting.
        "dsn": config.url and re.sub(r"\bconnect_timeout=\d*&?", "", config.url),
        "database": None if "dbname" in said or "database" in said else config.database,
        "user": None if "user" in said else config.user,
        "password": None if "password" in said else config.password,
        "ssl": config.ssl_mode,
    }
    if not config.prepared_statements:
        arguments["statement_cache_size"] = 0
    return {name: value for name, value in arguments.items() if value is not None}
