"""What SQLite stores as text comes back with PostgreSQL's types, however an operator wrote it."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from gatewaydb.engines.sqlite_connection import Fetched, raw_rows, run, typed_rows
from gatewaydb.engines.statements import Statement


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


def fetched(connection: sqlite3.Connection, **columns: object) -> Fetched:
    names = ", ".join(f"? AS {name}" for name in columns)
    return run(connection, f"SELECT {names}", list(columns.values()))


def typed(connection: sqlite3.Connection, **columns: object) -> dict[str, Any]:
    # A statement's columns are learnt once, so each set of them is a statement of its own.
    statement = Statement("_".join(columns), "", "", (), True)
    [row] = typed_rows(statement, fetched(connection, **columns))
    return row


def test_the_name_of_a_column_tells_its_type(connection: sqlite3.Connection) -> None:
    text = "019a0000-0000-7000-8000-000000000001"
    row = typed(connection, id=text, model_id=None, cost_usd="0.10", enabled=1, supports_vision=0, name="1")
    assert row == {
        "id": UUID(text),
        "model_id": None,
        "cost_usd": Decimal("0.10"),
        "enabled": True,
        "supports_vision": False,
        "name": "1",
    }
    assert (type(row["enabled"]), str(row["cost_usd"])) == (bool, "0.10")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-15T12:00:00.000000+00:00",
        "2026-01-15T12:00:00Z",
        "2026-01-15T14:00:00+02:00",
        "2026-01-15 12:00:00",
        "2026-01-15 12:00:00+00",
    ],
)
def test_a_time_is_in_utc_with_any_offset_or_none(connection: sqlite3.Connection, text: str) -> None:
    expires_at = typed(connection, expires_at=text)["expires_at"]
    assert (expires_at, expires_at.tzinfo) == (datetime(2026, 1, 15, 12, tzinfo=UTC), UTC)


def test_a_bare_date_is_its_midnight(connection: sqlite3.Connection) -> None:
    assert typed(connection, expires_at="2026-12-31")["expires_at"] == datetime(2026, 12, 31, tzinfo=UTC)


def test_no_rows_are_an_empty_list(connection: sqlite3.Connection) -> None:
    statement = Statement("nothing", "", "", (), True)
    assert typed_rows(statement, run(connection, "SELECT 1 AS id WHERE 0")) == []


def test_a_callers_own_sql_is_left_as_it_is(connection: sqlite3.Connection) -> None:
    assert raw_rows(fetched(connection, id="x", enabled=1)) == [{"id": "x", "enabled": 1}]
