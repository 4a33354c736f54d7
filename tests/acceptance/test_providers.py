"""`gatewaydb providers`. Credentials go in, and never come out."""

import asyncio
from typing import Any

import pytest
from cryptography.fernet import Fernet

from gatewaydb import Database, DatabaseConfig
from tests.acceptance.conftest import Run
from tests.conftest import ENCRYPTION_KEY

SECRET = "sk-live-0123456789abcdef"


def stored(url: str, name: str, keys: str = ENCRYPTION_KEY) -> Any:
    async def read() -> Any:
        async with Database(DatabaseConfig(url=url, encryption_keys=keys)) as db:
            return await db.providers.get_credentials((await db.providers.get_by_name(name)).id)

    return asyncio.run(read())


def test_credentials_come_from_the_environment(
    gatewaydb: Run, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    made = gatewaydb("providers", "create", "openai", "--credentials-from", "env:OPENAI_API_KEY", "--json")
    assert made.json["has_credentials"] is True
    assert stored(database_url, "openai") == {"api_key": SECRET}


def test_credentials_come_from_a_pipe(gatewaydb: Run, database_url: str) -> None:
    gatewaydb("providers", "create", "azure")
    whole = f'{{"api_key": "{SECRET}", "region": "eu"}}'
    assert gatewaydb("providers", "set-credentials", "azure", stdin=whole).code == 0
    assert stored(database_url, "azure") == {"api_key": SECRET, "region": "eu"}
    assert gatewaydb("providers", "set-credentials", "azure", stdin=f"{SECRET}\n").code == 0
    assert stored(database_url, "azure") == {"api_key": SECRET}
    assert gatewaydb("providers", "set-credentials", "azure", "--remove", "--json").json["has_credentials"] is False


def test_credentials_come_from_a_prompt(on_sqlite: Run, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getpass", lambda _: SECRET)
    assert on_sqlite("providers", "create", "openai", "--credentials-from", "prompt").code == 0
    assert stored(sqlite_url, "openai") == {"api_key": SECRET}


@pytest.mark.parametrize(
    "arguments",
    [
        ("set-credentials", "openai", SECRET),
        ("set-credentials", "openai", "--credentials-from", SECRET),
        ("set-credentials", "openai", "--credentials-from", f"env:{SECRET}"),
        ("set-credentials", "openai", f"--api-key={SECRET}"),
        ("set-credentials", SECRET),
        ("set-credentials", "openai", "--credentials-from", "stdin"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(on_sqlite: Run, arguments: tuple[str, ...]) -> None:
    on_sqlite("providers", "create", "openai")
    refused = on_sqlite("providers", *arguments, stdin=f"{{{SECRET}")
    assert refused.code in (1, 2)
    assert SECRET not in refused.out + refused.err


def test_nothing_shows_credentials(gatewaydb: Run) -> None:
    gatewaydb("providers", "create", "openai", "--credentials-from", "stdin", stdin=SECRET)
    for command in (("show", "openai"), ("list",), ("disable", "openai"), ("update", "openai", "--name", "x")):
        shown = gatewaydb("providers", *command)
        assert shown.code == 0
        assert SECRET not in shown.out + shown.err
        assert "stored" in shown.out
    listed = gatewaydb("providers", "list", "--json").json
    assert "credentials" not in listed[0]


def test_credentials_need_an_encryption_key(on_sqlite: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAYDB_ENCRYPTION_KEYS")
    refused = on_sqlite("providers", "create", "openai", "--credentials-from", "stdin", stdin=SECRET)
    assert (refused.code, "GATEWAYDB_ENCRYPTION_KEYS" in refused.err) == (2, True)
    assert on_sqlite("providers", "list", "--json").json == []


def test_new_key_and_rotation(gatewaydb: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gatewaydb("providers", "create", "openai", "--credentials-from", "stdin", stdin=SECRET)
    new = gatewaydb("providers", "new-key").out.strip()
    assert Fernet(new)
    assert Fernet(gatewaydb("providers", "new-key", "--json").json["encryption_key"])
    monkeypatch.setenv("GATEWAYDB_ENCRYPTION_KEYS", f"{new},{ENCRYPTION_KEY}")
    assert gatewaydb("providers", "rotate-credentials", "--json").json == {"rotated": 1}
    assert stored(database_url, "openai", keys=new) == {"api_key": SECRET}


def test_create_update_and_show(gatewaydb: Run) -> None:
    made = gatewaydb("providers", "create", "openai", "--api-base", "https://x/v1", "--metadata", "region=eu", "--json")
    assert (made.json["api_base"], made.json["metadata"]) == ("https://x/v1", {"region": "eu"})
    changed = gatewaydb("providers", "update", "openai", "--no-api-base", "--metadata", "tier=1", "--json").json
    assert (changed["api_base"], changed["metadata"]) == (None, {"region": "eu", "tier": "1"})
    assert gatewaydb("providers", "show", made.json["id"], "--json").json == changed
    assert gatewaydb("providers", "update", "openai").code == 2


def test_disable_enable_and_list(gatewaydb: Run) -> None:
    gatewaydb("providers", "create", "a")
    gatewaydb("providers", "create", "b", "--disabled")
    enabled = gatewaydb("providers", "list", "--enabled", "--json").json
    assert [provider["name"] for provider in enabled] == ["a"]
    assert gatewaydb("providers", "enable", "b", "--json").json["enabled"] is True
    assert gatewaydb("providers", "disable", "a", "--json").json["enabled"] is False
    after = gatewaydb("providers", "list", "--after", "a", "--json").json
    assert [provider["name"] for provider in after] == ["b"]


def test_delete(gatewaydb: Run) -> None:
    gatewaydb("providers", "create", "openai")
    assert gatewaydb("providers", "create", "openai").code == 1
    assert gatewaydb("providers", "delete", "openai").code == 2
    assert gatewaydb("providers", "delete", "openai", "--yes").code == 0
    assert "did you mean" not in gatewaydb("providers", "show", "openai").err
