"""`gatewaydb init`, `migrate`, `status` and `stats`."""

import dataclasses
import json
import sqlite3
from importlib import resources
from pathlib import Path

import pytest

from gatewaydb import CacheStats, ChangeFeedStats, DatabaseConfig, DatabaseStats, migrations
from tests.acceptance.conftest import Run
from tests.conftest import ENCRYPTION_KEY

MIGRATIONS = sorted(file.name.removesuffix(".sql") for file in (resources.files(migrations) / "sqlite").iterdir())
PLACE = {"url", "host", "port", "database", "user", "password"}


@pytest.fixture(params=["sqlite", "postgres"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


def test_init_makes_the_database_and_says_what_to_do_next(run: Run, new_url: str) -> None:
    made = run("init", "--database", new_url)
    assert made.code == 0
    assert "gatewaydb models import" in made.out
    assert run("status", "--database", new_url, "--json").json["ready"] is True
    again = run("init", "--database", new_url, "--json").json
    assert (again["applied"], again["schema_version"]) == ([], len(MIGRATIONS))


def test_status_tells_what_is_pending_and_fails_until_it_is_applied(run: Run, new_url: str) -> None:
    before = run("status", "--database", new_url, "--json")
    assert before.code == 1
    assert json.loads(before.out)["pending"] == MIGRATIONS
    assert run("migrate", "--database", new_url).out == "".join(f"applied {name}\n" for name in MIGRATIONS)
    assert run("migrate", "--database", new_url, "--json").json["applied"] == []
    after = run("status", "--database", new_url)
    assert (after.code, "ready" in after.out) == (0, True)


def test_looking_at_a_missing_file_does_not_make_it(run: Run, tmp_path: Path) -> None:
    assert run("status", "--database", "sqlite:///missing.db").code == 1
    assert run("migrate", "--sql", "--database", "sqlite:///missing.db").code == 0
    assert not (tmp_path / "missing.db").exists()


def test_using_a_missing_file_makes_it_and_says_so(run: Run, tmp_path: Path) -> None:
    listed = run("keys", "list", "--json", "--database", "sqlite:///fresh.db")
    assert (listed.code, listed.out) == (0, "[]\n")
    assert "made a new database, fresh.db" in listed.err
    assert (tmp_path / "fresh.db").exists()


def test_without_any_setting_it_is_llmgateway_db_in_this_folder(run: Run, tmp_path: Path) -> None:
    assert run("init").code == 0
    assert (tmp_path / "llmgateway.db").exists()


def test_sql_applied_by_hand_makes_a_database_that_is_ready(run: Run, tmp_path: Path) -> None:
    script = run("migrate", "--sql", "--database", "sqlite:///hand.db").out
    with sqlite3.connect(tmp_path / "hand.db") as connection:
        connection.executescript(script)
    connection.close()
    assert run("status", "--database", "sqlite:///hand.db").code == 0


def test_sql_is_what_is_pending_or_all_of_it(gatewaydb: Run) -> None:
    assert gatewaydb("migrate", "--sql").out == ""
    everything = gatewaydb("migrate", "--sql", "--from", "0")
    assert everything.out.startswith("BEGIN")
    assert "CREATE TABLE api_keys" in everything.out
    assert gatewaydb("migrate", "--sql", "--from", "0", "--json").json["sql"] == everything.out
    assert gatewaydb("migrate", "--sql", "--from", "-1").code == 2
    assert gatewaydb("migrate", "--from", "0").code == 2


def test_a_database_of_another_version_says_what_to_run(run: Run, empty_postgres_url: str) -> None:
    refused = run("keys", "list", "--database", empty_postgres_url)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("error: ")
    assert "gatewaydb migrate" in refused.err


def test_stats_count_rows_and_bytes(gatewaydb: Run) -> None:
    gatewaydb("keys", "create", "one", "--metadata", "tag.a=b")
    stats = gatewaydb("stats", "--json").json
    assert (stats["tables"]["api_keys"], stats["tables"]["api_key_metadata"], stats["tables"]["models"]) == (1, 1, 0)
    assert stats["size_bytes"] > 10_000
    assert stats["this_process"]["max_open_connections"] == 25
    assert "api_key_metadata" in gatewaydb("stats").out


def test_stats_show_all_settings_and_all_numbers(gatewaydb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"CACHE_POLICY": "sieve", "CACHE_ABSENT_SIZE": "123", "CACHE_STALE_IF_ERROR": "7m"}
    for variable, value in (changed | {"DATABASE_CHANGE_NOTIFICATIONS": "false"}).items():
        monkeypatch.setenv(variable, value)
    stats = gatewaydb("stats", "--json").json
    assert set(stats["settings"]) | PLACE == {field.name for field in dataclasses.fields(DatabaseConfig)}
    assert (stats["settings"]["cache_policy"], stats["settings"]["stale_if_error"]) == ("sieve", "PT420S")
    numbers = stats["this_process"]
    assert set(numbers) == set(DatabaseStats.__struct_fields__)
    assert set(numbers["api_key_cache"]) == set(CacheStats.__struct_fields__)
    assert set(numbers["change_feed"]) == set(ChangeFeedStats.__struct_fields__)
    rows = [line.split() for line in gatewaydb("stats").out.splitlines()]
    for row in (["absent_size", "123"], ["stale_if_error", "0:07:00"], ["change_notifications", "no"]):
        assert row in rows


def test_stats_show_no_password(run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres_url + ("&" if "?" in postgres_url else "?") + "sslpassword=hush"
    monkeypatch.setenv("DATABASE_READ_URL", url)
    for arguments in (("stats",), ("stats", "--json")):
        shown = run(*arguments, "--database", url).out
        assert shown.count("sslpassword=***") == 2
        assert "hush" not in shown
        assert ENCRYPTION_KEY not in shown
