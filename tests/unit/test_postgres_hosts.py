from typing import Any

import pytest

from gatewaydb import ConfigurationError, Database, DatabaseConfig
from gatewaydb.engines.postgres_hosts import Host, PostgresHosts, _connect_arguments, _said_in


def hosts(url: str | None = None, **settings: Any) -> list[Host]:
    return PostgresHosts(DatabaseConfig(url=url, **settings))._hosts


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://h/d", [("h", None)]),
        ("postgresql://u:p%40w@h:1/d", [("h", 1)]),
        ("postgresql://u@a:1,b:2,c/d?target_session_attrs=read-write", [("a", 1), ("b", 2), ("c", None)]),
        ("postgresql://u@[::1]:5,b/d", [("::1", 5), ("b", None)]),
        ("postgresql://u@/d?host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://u@/d?host=a,b&port=7", [("a", 7), ("b", 7)]),
        ("postgresql://u@/d?host=/run/postgresql&port=7", [("/run/postgresql", 7)]),
        ("postgresql://u@%2Frun%2Fpostgresql/d", [("/run/postgresql", None)]),
        ("postgresql:///d", [(None, None)]),
    ],
)
def test_a_url_names_its_hosts(url: str, expected: list[tuple[str | None, int | None]]) -> None:
    assert hosts(url) == expected


def test_settings_name_hosts_too_and_the_url_wins() -> None:
    assert hosts(host="a,b", port=6432) == [("a", 6432), ("b", 6432)]
    assert hosts(host="::1", port=6432) == [("::1", 6432)]
    assert hosts("postgresql://a/d", host="b", port=6432) == [("a", 6432)]
    assert hosts("postgresql:///d", host="b") == [("b", None)]


def test_what_the_url_leaves_out_comes_from_the_settings() -> None:
    config = DatabaseConfig(url="postgresql://ann@h/d?connect_timeout=3&sslmode=require", user="bob", password="hush")
    arguments = _connect_arguments(config, _said_in(config.url))
    assert arguments == {"dsn": "postgresql://ann@h/d?sslmode=require", "password": "hush"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://a:1,b:x/d", "each of its hosts"),
        ("postgresql://a:1,b:0/d", "each of its hosts"),
        ("postgresql://a,,b/d", "each of its hosts"),
        ("postgresql://u@/d?host=a,b&port=1,2,3", "3 ports for 2 hosts"),
        ("postgresql://h/d?connect_timeout=1s", "whole number of seconds"),
    ],
)
def test_a_place_that_is_none_is_an_error_before_anything_connects(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Database(url)


@pytest.mark.parametrize(
    ("url", "rounds"),
    [
        ("postgresql://h/d", [("h", None)]),
        ("postgresql://a,b/d", [("a", "read-write"), ("b", "read-write")]),
        ("postgresql://a,b/d?target_session_attrs=any", [("a", "any"), ("b", "any")]),
        (
            "postgresql://a,b/d?target_session_attrs=prefer-standby",
            [("a", "standby"), ("b", "standby"), ("a", "any"), ("b", "any")],
        ),
    ],
)
def test_of_several_hosts_it_wants_the_one_that_takes_writes(url: str, rounds: list[tuple[str, str | None]]) -> None:
    attempts = PostgresHosts(DatabaseConfig(url=url))._attempts()
    assert [(host.name, wanted) for host, wanted in attempts] == rounds
