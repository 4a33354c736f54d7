"""A query's plan is behaviour: EXPLAIN of every statement of `sql/`, on both engines, with a few thousand rows."""

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import pytest

from gatewaydb import Database, UsageRecord
from gatewaydb.engines.sqlite_connection import bound
from gatewaydb.engines.statements import DIALECTS, Dialect, Statement, load_statements
from gatewaydb.entities.models import CAPABILITIES, LIMITS
from tests.conftest import PostgresDatabases
from tests.postgres_server import RunningPostgres

ROWS = 3000
USAGE_ROWS = 40_000  # below that, PostgreSQL rightly prefers to read all of them to looking a batch up
A_HANDFUL = 20  # what an index found may well be sorted
START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(minutes=ROWS)
IDS = [UUID(int=number) for number in range(1, ROWS + 1)]
KEYS = IDS[:3]

REPORTS = {
    "model_search_names": "ranking needs every name on SQLite; PostgreSQL walks its trigram index in order",
    "usage_record_totals_by_key_and_model": "the spend of all keys over a range",
    "daily_usage_summary_sum_by_key": "all keys over a range, from the sums of settled days",
    "daily_usage_summary_sum_by_key_of_model": "all keys over a range, and the routes of a model among all routes",
    "daily_usage_summary_sum_by_route": "all routes over a range, from the sums of settled days",
    "daily_usage_summary_sum_by_route_of_key": "the routes of a model among all routes, which are few",
    "daily_usage_summary_list_tags": "the tags of all keys",
    "usage_partition_list_missing": "the default partition is empty, but for records of no month that has a partition",
    "usage_partition_count_strays": "as above",
    "contents_rows": "it counts",
    "usage_record_count_range": "repricing a range on purpose says how far it is",
    "usage_record_count_unpriced": "the same of what has no price, which the partial index holds",
    "warm_api_key_hashes": "once at the start of a process: the keys of two days, by their last request",
    "warm_model_names": "once at the start of a process: the routes of two days, and every model's names",
    "usage_record_stream": "an export reads all that there is",
    "model_list_names_of_catalog": "an import looks for the names that its file no longer has",
    "provider_lock_credentials": "rotation goes over all credentials",
    "usage_verification_list_months": "the monthly summaries of all keys tell the months; records are not read",
    "usage_verification_count_keys": "as above",
    "usage_verification_list_daily": "verifying reads all records of its keys and days, and compares them in order",
    "usage_verification_list_keys": "from key to key: what it sorts is one page of them",
    "usage_retention_list_models": "from model to model, all of them",
    "usage_retention_delete_claims": "the claims of a few days a month, of which PostgreSQL rather reads all",
    "usage_retention_list_months": "as usage_verification_list_months",
    "usage_retention_delete_records": "on PostgreSQL what lies in the default partition",
}
"""Statements that may read a whole table, or sort, and why."""

FEW_ROWS = {"usage_bulk", "usage_retention", "usage_settlement", "usage_unsettled_days"}

VALUES: dict[str, Any] = {
    **dict.fromkeys(("id", "model_id", "provider_id", "model_alias_id"), IDS[7]),
    "api_key_id": KEYS[0],
    **dict.fromkeys(("ids", "model_ids"), IDS[:3]),
    **dict.fromkeys(("name", "alias", "text", "key_hash", "key", "value", "type", "litellm_provider"), "n0007"),
    **dict.fromkeys(LIMITS, 4096),
    **dict.fromkeys(CAPABILITIES, False),
    **dict.fromkeys(("enabled", "is_on"), True),
    **dict.fromkeys(("now", "valid_from", "vanished_at", "expires_at"), START),
    "valid_until": None,
    "after": "n0007",
    **{many: ["n0001", "n0002"] for many in ("names", "key_hashes")},
    **dict.fromkeys(("limit", "version", "number", "per"), 50),
    "offset": 0,
    **dict.fromkeys(("start", "since"), START),
    **dict.fromkeys(("end", "before"), END),
    "before_id": IDS[-1],
    **dict.fromkeys(("head", "first_day", "first_week"), START),
    **dict.fromkeys(("tail", "last_day"), END),
    "request_timestamp": START,
    **dict.fromkeys(("route_id", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"), 1),
    **dict.fromkeys(("reasoning_tokens", "response_time_ms", "price_version", "status_code", "cost_picousd"), 1),
    **dict.fromkeys(("request_id", "error_message", "request_metadata", "response_metadata"), None),
    **dict.fromkeys(("billable", "pricing_context"), None),
    "ahead": 3,
    "keep": False,
    "strays": 60,
    "year": 2026,
    "month": 1,
    **dict.fromkeys(("by_day", "by_route", "by_status"), True),
    "is_any_model": False,
    "model_name": "n0007",
    **dict.fromkeys(("metadata", "condition"), "{}"),
    "first": "n0007",
    "beyond": "n0008",
    **dict.fromkeys(("allowed_models", "batch"), "[]"),
    **dict.fromkeys(("mode", "deprecation_date", "source", "api_base"), None),
    "rate_limit_per_minute": 60,
    **dict.fromkeys(("monthly_budget_usd", "price"), Decimal(1)),
    "credentials": b"token",
    "direction": "input",
    "modality": "any",
    "kind": "plain",
    "unit": "token",
    "literal": "1",
    "currency": "USD",
    "combine": "replace",
    "source_field": "",
    "origin": "catalog",
    "ended_version": 0,
    "seen": None,
    "known": ["1", "2"],
}
"""One value for every parameter that a statement has. A new parameter without one here fails the tests."""
BY_STATEMENT: dict[str, dict[str, Any]] = {
    **{name: {"after": IDS[7]} for name in ("api_key_list", "usage_record_list_range", "usage_record_list_unpriced")},
    **{name: {"month": START.date()} for name in ("usage_partition_list_missing", "usage_partition_add")},
    "usage_verification_list_keys": {"after": IDS[7]},
    "usage_retention_remove_month": {"month": START.date()},
}


class Explainer(Protocol):
    """Plans on one engine."""

    def problems(self, statement: Statement) -> list[str]:
        """What a statement does that only a report may."""

    def tables(self, statement: Statement) -> set[str]:
        """The tables that a statement reads."""

    def work(self, statement: Statement, values: Mapping[str, Any]) -> float:
        """How much it takes to run a read: a number that means something only beside another of its kind."""


class SQLiteExplainer:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def problems(self, statement: Statement) -> list[str]:
        plan = [
            line
            for step in statement.steps
            for line in self._connection.execute(f"EXPLAIN QUERY PLAN {step.sql}", bound(step, _values(step)))
        ]
        views = {detail.split()[-1] for _, _, _, detail in plan if detail.startswith(("CO-ROUTINE", "MATERIALIZE"))}
        scans = [detail for _, _, _, detail in plan if detail.startswith("SCAN ") and "VIRTUAL TABLE" not in detail]
        sorts = [detail for _, parent, _, detail in plan if detail.endswith("ORDER BY") and parent == 0]
        beside = views | FEW_ROWS
        tables = [scan for scan in scans if scan.split()[1] not in beside and scan != "SCAN CONSTANT ROW"]
        return tables + (sorts if _is_limited(statement) else [])

    def tables(self, statement: Statement) -> set[str]:
        program = self._connection.execute(f"EXPLAIN {statement.sql}", bound(statement, _values(statement)))
        roots = {row[3] for row in program if row[1] == "OpenRead"}
        schema = self._connection.execute("SELECT tbl_name, rootpage FROM sqlite_schema").fetchall()
        return {table for table, root in schema if root in roots}

    def work(self, statement: Statement, values: Mapping[str, Any]) -> float:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        self._connection.set_progress_handler(count, 10)
        self._connection.execute(statement.sql, bound(statement, values)).fetchall()
        self._connection.set_progress_handler(None, 0)
        return steps


class PostgresExplainer:
    def __init__(self, url: str) -> None:
        self._url = url

    def problems(self, statement: Statement) -> list[str]:
        if statement.sql.startswith(("COPY", "LOCK")):
            return []
        plan = self._explain(statement, _values(statement))
        scans = [
            node
            for node in _nodes(plan)
            if (node["Node Type"] == "Seq Scan" or self._is_whole_index(node))
            and node.get("Relation Name") not in FEW_ROWS
        ]
        sorts = [
            node
            for node in _nodes(plan, into_values=False)
            if "Sort" in node["Node Type"] and node["Plan Rows"] > A_HANDFUL
        ]
        found = scans + (sorts if _is_limited(statement) else [])
        return [f"{node['Node Type']} {node.get('Relation Name', '')}" for node in found]

    def tables(self, statement: Statement) -> set[str]:
        return {node.get("Relation Name", "") for node in _nodes(self._explain(statement, _values(statement)))}

    def _is_whole_index(self, node: dict[str, Any]) -> bool:
        return node["Node Type"] in ("Index Scan", "Index Only Scan") and "Index Cond" not in node

    def work(self, statement: Statement, values: Mapping[str, Any]) -> float:
        plan = self._explain(statement, values, "ANALYZE, BUFFERS, ")
        return float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    def _explain(self, statement: Statement, values: Mapping[str, Any], options: str = "") -> dict[str, Any]:
        async def ask() -> Any:
            connection = await asyncpg.connect(self._url)
            try:
                sql = f"EXPLAIN ({options}FORMAT JSON) {statement.sql}"
                return json.loads(await connection.fetchval(sql, *statement.bind(values)))[0]["Plan"]
            finally:
                await connection.close()

        plan: dict[str, Any] = asyncio.run(ask())
        return plan


def _nodes(plan: dict[str, Any], into_values: bool = True) -> Iterator[dict[str, Any]]:
    """The plan and all plans in it; those that only compute a value of one row may be left out."""
    yield plan
    for inner in plan.get("Plans", []):
        if into_values or inner["Parent Relationship"] != "SubPlan":
            yield from _nodes(inner, into_values)


def _is_limited(statement: Statement) -> bool:
    return "limit" in statement.parameters


def _values(statement: Statement) -> dict[str, Any]:
    return VALUES | BY_STATEMENT.get(statement.name, {})


@pytest.fixture(scope="module")
def sqlite_explainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteExplainer]:
    path = tmp_path_factory.mktemp("plans") / "plans.db"
    asyncio.run(_fill(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ANALYZE")
        yield SQLiteExplainer(connection)


@pytest.fixture(scope="module")
def postgres_explainer(postgres: RunningPostgres, postgres_databases: PostgresDatabases) -> PostgresExplainer:
    name = postgres_databases.take()
    postgres_databases.drop_partitions(name)  # a month's records are so few here that they are rightly read whole
    asyncio.run(_fill(postgres.url(name)))
    postgres.psql("VACUUM ANALYZE", name)
    return PostgresExplainer(postgres.url(name))


@pytest.fixture
def explainer(request: pytest.FixtureRequest, dialect: Dialect) -> Explainer:
    chosen: Explainer = request.getfixturevalue(f"{dialect}_explainer")
    return chosen


async def _fill(url: str) -> None:
    async with Database(url) as db, db.transaction() as tx:
        insert = tx._transaction.execute_many
        numbered = [(number, f"n{number:04}", IDS[number]) for number in range(ROWS)]
        await insert("provider_insert", [_row(id=id_, name=name) for _, name, id_ in numbered])
        await insert("api_key_insert", [_row(id=id_, name=name, key_hash=name) for _, name, id_ in numbered])
        await insert("api_key_metadata_set", [_row(api_key_id=id_) for _, _, id_ in numbered])
        await insert("model_insert", [_row(id=id_, name=name, provider_id=IDS[n // 100]) for n, name, id_ in numbered])
        await insert("price_component_insert", [_row(model_id=id_) for _, _, id_ in numbered for _ in range(2)])
        await insert("model_alias_insert", [_row(id=id_, alias=name, model_id=id_) for _, name, id_ in numbered])
        await insert("model_alias_tag_set", [_row(model_alias_id=id_) for _, _, id_ in numbered])
        await tx.execute("UPDATE models SET litellm_provider = 'other' WHERE name > 'n0100'")
        records = list(_records())
        for first in range(0, len(records), 5000):
            await tx.usage.create_many(records[first : first + 5000])


def _row(**values: Any) -> dict[str, Any]:
    return VALUES | values


def _records() -> Iterable[UsageRecord]:
    """Three keys and models in turn, over many months of other keys."""
    for number, id_ in enumerate(IDS):
        key, at = KEYS[number % 3], START + timedelta(minutes=number)
        yield UsageRecord(id=id_, api_key_id=key, model_id=key, request_timestamp=at, cost_usd=Decimal(1))
    for number in range(USAGE_ROWS - ROWS):
        id_, at = IDS[number % ROWS], START + timedelta(hours=number)
        yield UsageRecord(api_key_id=id_, model_id=id_, request_id=f"{number}", request_timestamp=at)


def _reports(statements: Mapping[str, Statement]) -> list[Statement]:
    return [each for name, each in statements.items() if name.startswith("daily_usage_summary_sum")]


STATEMENTS = [(dialect, name) for dialect in DIALECTS for name in load_statements(dialect)]
PAGED = [
    (dialect, name)
    for dialect, name in STATEMENTS
    if {"limit", "offset"} <= set(load_statements(dialect)[name].parameters) and "summary" not in name
]


@pytest.mark.parametrize(("dialect", "name"), [each for each in STATEMENTS if each[1] not in REPORTS])
def test_no_statement_scans_or_sorts_a_table(explainer: Explainer, dialect: Dialect, name: str) -> None:
    assert explainer.problems(load_statements(dialect)[name]) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_allow_list_holds_no_more_than_it_must(explainer: Explainer, dialect: Dialect) -> None:
    statements = load_statements(dialect)
    assert REPORTS.keys() <= statements.keys()
    assert not any(statements[name].is_point for name in REPORTS)


def test_each_report_is_one_somewhere(sqlite_explainer: SQLiteExplainer, postgres_explainer: PostgresExplainer) -> None:
    explainers: dict[Dialect, Explainer] = {"sqlite": sqlite_explainer, "postgres": postgres_explainer}
    for name in REPORTS:
        assert any(explainers[dialect].problems(load_statements(dialect)[name]) for dialect in DIALECTS), name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_report_reads_usage_records(explainer: Explainer, dialect: Dialect) -> None:
    for statement in _reports(load_statements(dialect)):
        tables = explainer.tables(statement)
        assert "daily_usage_summaries" in tables
        assert not [table for table in tables if table.startswith("usage_records")]


@pytest.mark.parametrize(("dialect", "name"), PAGED)
def test_the_last_page_costs_what_the_first_costs(explainer: Explainer, dialect: Dialect, name: str) -> None:
    statement = load_statements(dialect)[name]
    first, last = (explainer.work(statement, _values(statement) | edge) for edge in _edges(name))
    assert last <= first * 1.5 + 10


def _edges(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if name.startswith("usage_record"):
        return {"before": END}, {"before": START + timedelta(minutes=150)}
    if name == "api_key_list":
        return {"after": UUID(int=0)}, {"after": IDS[-60]}
    if "provider" in name and name.startswith("model"):
        return {"after": ""}, {"after": "n0040"}
    return {"after": ""}, {"after": f"n{ROWS - 60:04}"}
