import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewaydb import ConfigurationError, Database, DatabaseConfig
from gatewaydb.config import ENVIRONMENT

SECRET = "p@ss:w/rd?&#%s3cret"
DURATIONS = ("conn_max_lifetime", "conn_max_idle_time", "query_timeout", "api_key_cache_ttl", "model_cache_ttl")
COUNTS = ("max_open_conns", "max_idle_conns", "api_key_cache_size", "model_cache_size")


def test_the_defaults_are_the_guide_s() -> None:
    config = DatabaseConfig()
    assert (config.max_open_conns, config.max_idle_conns) == (25, 5)
    assert (config.conn_max_lifetime, config.conn_max_idle_time) == (timedelta(minutes=5), timedelta(minutes=1))
    assert (config.api_key_cache_size, config.api_key_cache_ttl) == (1000, timedelta(minutes=5))
    assert (config.model_cache_size, config.model_cache_ttl) == (500, timedelta(minutes=15))
    assert config.query_timeout == timedelta(seconds=5)
    assert config.prepared_statements


def test_with_nothing_set_it_is_sqlite_in_this_folder() -> None:
    config = DatabaseConfig.from_env({})
    assert config == DatabaseConfig()
    assert config.is_sqlite
    assert config.sqlite_path == "llmgateway.db"


def test_the_environment_names_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "DATABASE_URL": "postgresql://h/d",
        "DATABASE_HOST": "localhost",
        "DATABASE_PORT": "6432",
        "DATABASE_USER": "postgres",
        "DATABASE_PASSWORD": SECRET,
        "DATABASE_MAX_OPEN_CONNS": "7",
        "DATABASE_QUERY_TIMEOUT": "1m30s",
        "DATABASE_PREPARED_STATEMENTS": "off",
        "CACHE_API_KEY_SIZE": "10",
        "CACHE_API_KEY_TTL": "1h",
        "CACHE_MODEL_SIZE": "20",
        "CACHE_MODEL_TTL": "500ms",
    }
    config = DatabaseConfig.from_env(environment)
    assert (config.url, config.host, config.port, config.user) == ("postgresql://h/d", "localhost", 6432, "postgres")
    assert (config.password, config.max_open_conns, config.prepared_statements) == (SECRET, 7, False)
    assert config.query_timeout == timedelta(seconds=90)
    assert (config.api_key_cache_size, config.api_key_cache_ttl) == (10, timedelta(hours=1))
    assert (config.model_cache_size, config.model_cache_ttl) == (20, timedelta(milliseconds=500))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Database().config == config


def test_every_setting_has_a_variable() -> None:
    assert set(ENVIRONMENT.values()) == set(DatabaseConfig.__dataclass_fields__)


def test_an_empty_variable_is_none_and_others_programs_variables_are_left_alone() -> None:
    assert DatabaseConfig.from_env({"DATABASE_HOST": "", "CACHE_DIR": "/x", "DATABASE_NAME_OF_MINE": "x"}) == (
        DatabaseConfig()
    )


def test_a_misspelt_variable_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match=r"CACHE_API_KEYS_TTL.*did you mean CACHE_API_KEY_TTL"):
        DatabaseConfig.from_env({"CACHE_API_KEYS_TTL": "5m"})


def test_settings_may_stand_in_a_url() -> None:
    config = DatabaseConfig.from_url(
        "postgresql://u@h:1/d?max_open_conns=3&query_timeout=2s&sslmode=require&application_name=gw", max_idle_conns=2
    )
    assert (config.max_open_conns, config.max_idle_conns, config.query_timeout) == (3, 2, timedelta(seconds=2))
    assert config.url == "postgresql://u@h:1/d?sslmode=require&application_name=gw"
    assert DatabaseConfig(url="sqlite:///a.db?api_key_cache_size=7").api_key_cache_size == 7


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", "relative.db"),
        ("sqlite:////absolute/a.db", "/absolute/a.db"),
        ("sqlite:///with%20space%3F.db", "with space?.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
    ],
)
def test_a_sqlite_url_names_a_file(url: str, path: str | None) -> None:
    config = DatabaseConfig(url=url)
    assert config.is_sqlite
    assert config.sqlite_path == path


@pytest.mark.parametrize("setting", ["host", "database", "user", "password"])
def test_a_place_on_a_server_means_postgresql(setting: str) -> None:
    assert not DatabaseConfig(**{setting: "x"}).is_sqlite


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("300ms", timedelta(milliseconds=300)),
        ("0", timedelta(0)),
        ("0s", timedelta(0)),
    ],
)
def test_durations_are_go_s_texts(text: str, duration: timedelta) -> None:
    assert DatabaseConfig(conn_max_lifetime=text).conn_max_lifetime == duration


def test_a_replica_has_a_whole_url_of_its_own_and_shows_no_password() -> None:
    config = DatabaseConfig(url="postgresql://h/d", read_url="postgresql://u:hush@r,s/d?sslmode=require")
    assert config.read_url == "postgresql://u:hush@r,s/d?sslmode=require"
    assert "hush" not in repr(config)
    assert "read_url='postgresql://u:***@r,s/d?sslmode=require'" in repr(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "sqlite:///a.db", "read_url": "postgresql://r/d"}, "read_url: a file has no replicas"),
        ({"read_url": "postgresql://r/d"}, "read_url: a file has no replicas"),
        ({"url": "postgresql://h/d", "read_url": "sqlite:///a.db"}, "read_url: must begin with postgresql"),
        ({"url": "postgresql://h/d", "read_url": "r/d"}, "read_url: must begin with"),
        ({"url": "postgresql://h/d", "read_url": "postgresql://r/d?max_open_conns=3"}, "read_url: unknown setting"),
        ({"url": "postgresql://h/d", "read_url": "postgresql://u:p/w@r/d"}, "read_url: percent-encode"),
        ({"url": "postgresql://h/d?read_url=postgresql://r/d"}, "unknown setting 'read_url' in the URL"),
    ],
)
def test_a_replica_s_url_that_is_none_is_an_error_that_names_it(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DatabaseConfig(**settings)


BAD: list[tuple[str, Any]] = [
    *(
        (name, value)
        for name in DURATIONS
        for value in ("5", "m", "-5m", "5 minutes", "", 5, 1.5, None, "99999999999h")
    ),
    *((name, timedelta(seconds=-1)) for name in DURATIONS),
    ("query_timeout", "0s"),
    *((name, value) for name in COUNTS for value in ("many", "1.5", -1, True, 2.0, None, "", "٣", 10**30)),
    *((name, 0) for name in COUNTS if name != "max_idle_conns"),
    *(("port", value) for value in (0, 65_536, "http", True, -1)),
    *(("ssl_mode", value) for value in ("on", "REQUIRE", 7)),
    *(("prepared_statements", value) for value in ("maybe", None, 2)),
    *(
        ("url", value)
        for value in ("", "mysql://h/d", "llmgateway.db", "sqlite://folder/a.db", "http://[", 7, "sqlite:a")
    ),
    *(("url", value) for value in ("postgresql://h:99999/d", "postgresql://h:http/d", "sqlite:/a.db")),
    *(("url", value) for value in ("postgresql://h/d?max_conns=5", "sqlite:///a.db?sslmode=require", "sqlite:///a\0b")),
    *((name, "nul\0") for name in ("host", "database", "user", "password")),
    *((name, 7) for name in ("host", "database", "user", "password", "encryption_keys")),
    ("max_conns", 5),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=repr)
def test_an_unknown_or_impossible_setting_is_an_error_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_conns|sslmode" if name == "url" and "?" in str(value) else name):
        DatabaseConfig(**{name: value})


def test_an_unknown_setting_says_what_was_probably_meant() -> None:
    with pytest.raises(ConfigurationError, match="'max_conns'; did you mean 'max_open_conns'"):
        DatabaseConfig(max_conns=5)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="'query_timout' in the URL; did you mean 'query_timeout'"):
        DatabaseConfig(url="sqlite:///a.db?query_timout=5s")


def test_idle_connections_are_never_more_than_open_ones() -> None:
    assert DatabaseConfig(max_open_conns=2).max_idle_conns == 2


def test_a_config_cannot_change() -> None:
    with pytest.raises(AttributeError):
        DatabaseConfig().max_open_conns = 1  # type: ignore[misc]


def test_a_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(DatabaseConfig()) == "DatabaseConfig()"
    assert repr(DatabaseConfig(host="h", max_open_conns=7)) == "DatabaseConfig(host='h', max_open_conns=7)"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8).map(lambda text: f"s3{text}cret"))
def test_no_repr_holds_a_password(password: str) -> None:
    shown = repr(DatabaseConfig(host="h", password=password, encryption_keys=password))
    assert password not in shown
    assert repr(password)[1:-1] not in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@h/d",
        "postgresql://user:s3cret@h1:1,h2:2/d",
        "postgresql://:s3cret@h/d",
        "postgresql://user:s3@cret@h/d",
        "postgresql://h/d?password=s3cret&user=u",
        "postgresql://h/d?sslpassword=s3cret",
        "postgresql://h/d?encryption_keys=s3cret",
        "postgresql://user:s3/cret@h/d",
        "postgresql://user:s3?cret@h/d",
        "postgresql://user:s3#cret@h/d",
        "postgresql://user:s3cret/d",
    ],
)
def test_no_repr_of_a_url_holds_a_password(url: str) -> None:
    try:
        shown = repr(DatabaseConfig(url=url))
    except ConfigurationError as error:
        shown = str(error)
    assert not re.search("s3|cret", shown)
