"""`gatewaydb keys`."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gatewaydb import Database
from gatewaydb.credentials import hash_secret
from tests.acceptance.conftest import Run


def create(gatewaydb: Run, *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = gatewaydb("keys", "create", *arguments, "--json").json
    return made


def test_the_secret_is_shown_once_and_works(gatewaydb: Run, database_url: str) -> None:
    made = gatewaydb("keys", "create", "production")
    secret = re.search(r"^\s*(sk-\S+)$", made.out, re.MULTILINE)
    assert secret

    async def authenticated() -> str:
        async with Database(database_url) as db:
            return (await db.api_keys.authenticate(secret[1])).name

    assert asyncio.run(authenticated()) == "production"
    shown = [gatewaydb("keys", *command) for command in (("list",), ("show", "production"), ("list", "--json"))]
    assert not any(secret[1] in ran.out + ran.err for ran in shown)


def test_limits_are_stored_exactly(gatewaydb: Run) -> None:
    limits = ("--budget", "100.10", "--rate-limit", "60", "--expires", "90d", "--models", "gpt-4o, openai/*")
    made = create(gatewaydb, "mobile", *limits, "--metadata", "owner.email=a@b", "--metadata", "tag.x.y=1=2")
    shown = gatewaydb("keys", "show", "mobile", "--json").json
    assert {**shown, "secret": made["secret"]} == made
    assert hash_secret(made["secret"]) == shown["key_hash"]
    assert Decimal(shown["monthly_budget_usd"]) == Decimal("100.10")
    assert isinstance(shown["monthly_budget_usd"], str)
    assert shown["rate_limit_per_minute"] == 60
    assert shown["allowed_models"] == ["gpt-4o", "openai/*"]
    assert shown["metadata"] == {"owner": {"email": "a@b"}, "tag": {"x.y": "1=2"}}
    expires = datetime.fromisoformat(shown["expires_at"])
    assert abs(expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


def test_update_changes_what_is_given_and_removes_limits(gatewaydb: Run) -> None:
    limits = ("--budget", "5", "--rate-limit", "6", "--expires", "2030-01-01", "--models", "gpt-4o")
    create(gatewaydb, "one", *limits, "--metadata", "tag.a=b")
    changed = gatewaydb("keys", "update", "one", "--name", "two", "--budget", "7", "--json").json
    assert (changed["name"], changed["rate_limit_per_minute"]) == ("two", 6)
    assert Decimal(changed["monthly_budget_usd"]) == 7
    removals = ("--no-budget", "--no-rate-limit", "--no-expiry", "--all-models")
    freed = gatewaydb("keys", "update", "two", *removals, "--json").json
    assert (freed["monthly_budget_usd"], freed["rate_limit_per_minute"], freed["expires_at"]) == (None, None, None)
    assert (freed["allowed_models"], freed["metadata"]) == ([], {"tag": {"a": "b"}})


def test_update_refuses_what_contradicts_itself(on_sqlite: Run) -> None:
    create(on_sqlite, "one")
    assert on_sqlite("keys", "update", "one", "--budget", "1", "--no-budget").code == 2
    assert on_sqlite("keys", "update", "one").code == 2


def test_a_key_is_named_by_id_name_or_hash(gatewaydb: Run) -> None:
    made = create(gatewaydb, "production")
    for name in (made["id"], "production", made["key_hash"], made["key_hash"][:8], made["key_hash"][:8].upper()):
        assert gatewaydb("keys", "show", name, "--json").json["id"] == made["id"]
    assert gatewaydb("keys", "show", made["key_hash"][:5]).code == 1


def test_an_ambiguous_name_lists_the_ids(gatewaydb: Run) -> None:
    ids = [create(gatewaydb, "twin")["id"] for _ in range(2)]
    refused = gatewaydb("keys", "disable", "twin")
    assert refused.code == 1
    assert all(key_id in refused.err for key_id in ids)


def test_an_unknown_name_says_what_was_probably_meant(gatewaydb: Run) -> None:
    create(gatewaydb, "production")
    refused = gatewaydb("keys", "show", "prodution")
    assert (refused.code, refused.out) == (1, "")
    assert "did you mean 'production'?" in refused.err


def test_disable_and_enable(gatewaydb: Run) -> None:
    create(gatewaydb, "one")
    assert gatewaydb("keys", "disable", "one", "--json").json["enabled"] is False
    assert "disabled" in gatewaydb("keys", "list").out
    assert gatewaydb("keys", "enable", "one", "--json").json["enabled"] is True


def test_an_expired_key_is_listed_as_such(on_sqlite: Run) -> None:
    create(on_sqlite, "old", "--expires", "2020-01-01")
    assert "expired" in on_sqlite("keys", "list").out


def test_delete_asks_and_refuses_where_nobody_can_answer(gatewaydb: Run) -> None:
    made = create(gatewaydb, "one")
    refused = gatewaydb("keys", "delete", "one")
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert gatewaydb("keys", "delete", "one", "--yes", "--json").json == {"deleted": made["id"]}
    assert gatewaydb("keys", "show", made["id"]).code == 1


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_delete_does_what_a_person_answers(on_sqlite: Run, answer: str, left: int) -> None:
    create(on_sqlite, "one")
    assert on_sqlite("keys", "delete", "one", stdin=answer, is_terminal=True).code == left
    assert len(on_sqlite("keys", "list", "--json").json) == left


def test_metadata_is_set_and_deleted_all_or_nothing(gatewaydb: Run) -> None:
    create(gatewaydb, "one")
    assert gatewaydb("keys", "set-metadata", "one", "tag.env=prod", "owner.email=a@b", "--json").json["metadata"] == {
        "owner": {"email": "a@b"},
        "tag": {"env": "prod"},
    }
    assert gatewaydb("keys", "set-metadata", "one", "tag.new=1", f"tag.long={'x' * 20_000}").code == 2
    assert gatewaydb("keys", "delete-metadata", "one", "tag.env", "tag.missing").code == 1
    left = gatewaydb("keys", "delete-metadata", "one", "tag.env", "--json").json["metadata"]
    assert left == {"owner": {"email": "a@b"}}
    assert "owner.email" in gatewaydb("keys", "show", "one").out


def test_list_is_paged(gatewaydb: Run) -> None:
    ids = [create(gatewaydb, f"key {number}")["id"] for number in range(5)]
    first = gatewaydb("keys", "list", "--limit", "2", "--json").json
    by_offset = gatewaydb("keys", "list", "--limit", "3", "--offset", "2", "--json").json
    by_cursor = gatewaydb("keys", "list", "--after", ids[1], "--json").json
    assert [key["id"] for key in first + by_offset] == ids
    assert by_offset == by_cursor
    assert "--offset 2" in gatewaydb("keys", "list", "--limit", "2").err


def test_names_are_text_and_steer_no_terminal(on_sqlite: Run) -> None:
    create(on_sqlite, "[bold]x[/bold] :smile: \x1b[2J")
    shown = on_sqlite("keys", "list").out
    assert "[bold]x[/bold] :smile: \\x1b[2J" in shown
    assert "\x1b" not in shown
