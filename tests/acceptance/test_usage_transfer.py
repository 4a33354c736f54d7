"""`gatewaydb usage export` and `gatewaydb usage import`: from one database to another, and nothing twice."""

import asyncio
import csv
import gzip
import io
import json
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from gatewaydb import Database, UsageRecord
from gatewaydb.cli import usage_encoders
from gatewaydb.cli.usage_lines import COLUMNS
from gatewaydb.cli.values import EARLIEST, LATEST
from tests.acceptance.conftest import Run
from tests.peak_memory import peak_kb
from tests.unit.cli.test_usage_lines import BARE, FULL, as_csv, as_json

Start = Callable[..., subprocess.Popen[str]]
ROWS = 100_000
MEMORY_MAX_GROWTH_KB = 40_000
"""A third of what so many records would take, if they were kept."""


def several(number: int) -> list[UsageRecord]:
    """Records with all fields and with none, a minute apart, of two keys."""
    made = [FULL, BARE]
    for n in range(number):
        at, key = FULL.request_timestamp + timedelta(minutes=n), UUID(int=n % 2 + 1)
        cost = None if n % 7 == 0 else Decimal(n).scaleb(-12)
        made.append(UsageRecord(api_key_id=key, request_timestamp=at, prompt_tokens=n, cost_usd=cost).checked())
    return made


def stored(url: str) -> dict[UUID, UsageRecord]:
    async def read() -> dict[UUID, UsageRecord]:
        async with Database(url) as db:
            return {record.id: record async for record in db.usage.stream(EARLIEST, LATEST)}

    return asyncio.run(read())


def store(url: str, records: list[UsageRecord]) -> None:
    async def write() -> None:
        async with Database(url) as db:
            await db.usage.create_many(records)

    asyncio.run(write())


@pytest.fixture
def filled(gatewaydb: Run, database_url: str) -> Run:
    """With some usage, on each engine."""
    store(database_url, several(20))
    return gatewaydb


@pytest.mark.parametrize("name", ["usage.csv", "usage.jsonl", "usage.csv.gz"])
@pytest.mark.parametrize("to_postgres", [True, False])
def test_what_was_exported_is_imported_whole_and_once(
    run: Run, sqlite_url: str, postgres_url: str, name: str, to_postgres: bool
) -> None:
    source, target = (sqlite_url, postgres_url) if to_postgres else (postgres_url, sqlite_url)
    records = several(40)
    store(source, records)
    exported = run("usage", "export", "--output", name, "--database", source, "--json")
    assert exported.json == {"rows": 42, "format": name.split(".")[1], "output": name}
    for inserted in (42, 0):
        report = run("usage", "import", name, "--database", target, "--json").json
        assert (report["rows"], report["inserted"], report["already_there"]) == (42, inserted, 42 - inserted)
    assert stored(target) == {record.id: record for record in records}
    both = [run("usage", "totals", "--json", "--database", url).json for url in (source, target)]
    assert both[0] == both[1]
    assert run("usage", "import", name, "--database", source, "--json").json["inserted"] == 0


def test_parquet_has_exact_money_and_times(filled: Run, database_url: str) -> None:
    parquet = import_module("pyarrow.parquet")  # it has no types
    assert filled("usage", "export", "--output", "usage.parquet").code == 0
    table = parquet.read_table("usage.parquet")
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("cost_usd").type) == "decimal128(20, 12)"
    assert str(table.schema.field("request_timestamp").type) == "timestamp[us, tz=UTC]"
    rows = {row["id"]: row for row in table.to_pylist()}
    for record in stored(database_url).values():
        row = rows[str(record.id)]
        assert (row["cost_usd"], row["request_timestamp"]) == (record.cost_usd, record.request_timestamp)
        assert (row["total_tokens"], row["error_message"]) == (record.total_tokens, record.error_message)
    full, bare = rows[str(FULL.id)], rows[str(BARE.id)]
    assert full["request_metadata"].encode() == msgspec.json.encode(FULL.request_metadata)
    assert bare["request_metadata"] is None


def test_an_export_is_of_a_range_a_key_and_a_model(filled: Run, database_url: str) -> None:
    def exported(*arguments: str) -> set[str]:
        rows = csv.DictReader(io.StringIO(filled("usage", "export", *arguments).out))
        return {row["id"] for row in rows}

    def expected(**fields: UUID) -> set[str]:
        found = stored(database_url).values()
        return {str(each.id) for each in found if all(getattr(each, name) == id_ for name, id_ in fields.items())}

    assert exported() == expected()
    assert exported("--api-key", str(UUID(int=2))) == expected(api_key_id=UUID(int=2))
    assert exported("--model", str(FULL.model_id)) == {str(FULL.id)}
    span = ("--since", "2026-11-16T18:20Z", "--until", "2026-11-16T18:22Z")
    assert len(exported(*span)) == 2
    assert exported("--since", "2030-01-01") == set()


def test_the_format_is_told_by_the_name_or_by_the_option(filled: Run, tmp_path: Path) -> None:
    assert filled("usage", "export").out.startswith("api_key_id,")
    assert json.loads(filled("usage", "export", "--format", "jsonl").out.split("\n")[0])["id"]
    filled("usage", "export", "--output", "usage.txt", "--format", "jsonl")
    assert (tmp_path / "usage.txt").read_text().startswith("{")
    filled("usage", "export", "--output", "usage.jsonl.gz")
    assert gzip.decompress((tmp_path / "usage.jsonl.gz").read_bytes()).startswith(b"{")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--format", "parquet"),
        ("--output", "usage.parquet.gz"),
        ("--format", "xml"),
        ("--json",),
        ("--since", "2027-01-01", "--until", "2026-01-01"),
    ],
)
def test_what_cannot_be_is_refused(on_sqlite: Run, arguments: tuple[str, ...], tmp_path: Path) -> None:
    refused = on_sqlite("usage", "export", *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.db"]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 1)])
def test_an_export_that_breaks_off_leaves_no_file(
    filled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    (tmp_path / "before.jsonl").write_text("what was there", encoding="utf-8")

    def breaking(self: Any, records: list[UsageRecord]) -> None:
        self._target.write(b"half")
        raise error

    monkeypatch.setattr(usage_encoders.JSONEncoder, "write", breaking)
    for name in ("new.jsonl", "before.jsonl", "new.jsonl.gz"):
        assert filled("usage", "export", "--output", name).code == code
    assert [path.name for path in tmp_path.glob("*.jsonl*")] == ["before.jsonl"]
    assert (tmp_path / "before.jsonl").read_text(encoding="utf-8") == "what was there"


def test_ctrl_c_ends_an_export_with_130(start: Start, sqlite_url: str) -> None:
    store(sqlite_url, several(2_000))
    exporting = start("usage", "export", "--format", "jsonl", DATABASE_URL=sqlite_url)
    assert exporting.stdout is not None
    exporting.stdout.read(1)  # it is writing now, and more than a pipe holds
    exporting.send_signal(signal.SIGINT)
    _, err = exporting.communicate(timeout=60)
    assert (exporting.returncode, err) == (130, "error: interrupted\n")


def test_a_pipe_with_a_name_is_written_as_it_is(on_sqlite: Run, sqlite_url: str) -> None:
    store(sqlite_url, several(1))
    assert on_sqlite("usage", "export", "--output", "/dev/null").code == 0
    assert on_sqlite("usage", "export", "--output", "/").code == 1


def many_rows(url: str) -> None:
    """So many records, quicker than any API could: on SQLite without their summaries."""
    columns = "id, api_key_id, request_timestamp, prompt_tokens, completion_tokens, total_tokens, error_message"
    about = f"1, 1, 2, '{'x' * 300}' FROM"
    sqlite = f"""
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
        INSERT INTO usage_records ({columns})
        SELECT printf('00000000-0000-7000-8000-%012x', i), '00000000-0000-0000-0000-000000000001',
            printf('2026-01-%02dT00:00:00.000000+00:00', i % 28 + 1), {about} n
    """
    postgres = f"""
        INSERT INTO usage_records ({columns})
        SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001',
            '2026-01-01Z'::timestamptz + i % 28 * interval '1 day', {about} generate_series(1, {ROWS}) AS i
    """

    async def insert() -> None:
        async with Database(f"{url}?query_timeout=2m") as db, db.transaction() as tx:
            if url.startswith("sqlite"):
                await tx.execute("INSERT INTO usage_bulk VALUES (0)")
                await tx.execute(sqlite)
                await tx.execute("DELETE FROM usage_bulk")
            else:
                await tx.execute(postgres)

    asyncio.run(insert())


def test_memory_stays_flat_however_much_is_exported(database_url: str, tmp_path: Path) -> None:
    many_rows(database_url)
    export = ("usage", "export", "--database", f"{database_url}?query_timeout=2m", "--output")
    few = peak_kb(*export, str(tmp_path / "few.jsonl"), "--since", "2026-01-28")
    all_of_them = peak_kb(*export, str(tmp_path / "all.jsonl"))
    with (tmp_path / "all.jsonl").open(encoding="utf-8") as lines:
        assert sum(1 for _ in lines) == ROWS
    assert all_of_them - few < MEMORY_MAX_GROWTH_KB


def test_memory_stays_flat_however_much_is_imported(sqlite_url: str, tmp_path: Path) -> None:
    """25,000 records would take 50 MB if they were kept."""
    template = replace(BARE, error_message="x" * 1_000)
    for name, rows in (("few", 5_001), ("many", 25_000)):
        records = (replace(template, id=UUID(int=n), request_id=f"{n}") for n in range(rows))
        (tmp_path / f"{name}.jsonl").write_text(as_json(*records), encoding="utf-8")
    command = ("usage", "import", "--database", f"{sqlite_url}?query_timeout=2m")
    few = peak_kb(*command, str(tmp_path / "few.jsonl"))
    assert peak_kb(*command, str(tmp_path / "many.jsonl")) - few < 25_000
    assert len(stored(sqlite_url)) == 25_000


HEADER = "request_timestamp,api_key,model,prompt_tokens,cost_usd\n"


def test_keys_and_models_are_named_as_everywhere(gatewaydb: Run, prices: Path, tmp_path: Path) -> None:
    gatewaydb("models", "import", str(prices))
    gatewaydb("keys", "create", "production")
    gatewaydb("keys", "create", "twice")
    gatewaydb("keys", "create", "twice")
    (tmp_path / "usage.csv").write_text(
        f"{HEADER}2026-11-01T00:00:00Z,production,gpt-4o,1,0.5\n2026-11-01T00:00:00Z,nobody,gpt-4o,1,\n"
        "2026-11-01T00:00:00Z,twice,gpt-4o,1,\n2026-11-01T00:00:00Z,,,2,\n2026-11-01T00:00:00Z,production,gtp-4o,1,\n",
        encoding="utf-8",
    )
    ran = gatewaydb("usage", "import", "usage.csv", "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["inserted"], report["unpriced"], report["cost_usd"]) == (1, 1, 0, "0.500000000000")
    assert [bad["line"] for bad in report["bad_lines"]] == [3, 4, 5, 6]
    reasons = " ".join(bad["reason"] for bad in report["bad_lines"])
    assert all(said in reasons for said in ("nobody", "2 API keys", "api_key_id: must be given", "gpt-4o"))
    [totals] = gatewaydb("usage", "totals", "--json").json
    assert (totals["api_key_name"], totals["model_name"]) == ("production", "gpt-4o")
    defaults = ("--api-key", "production", "--model", "gpt-4o-mini")
    again = json.loads(gatewaydb("usage", "import", "usage.csv", *defaults, "--json").out)
    assert (again["inserted"], again["already_there"], again["bad"]) == (1, 1, 3)


def test_bad_lines_go_whole_into_a_file_with_number_and_reason(on_sqlite: Run, tmp_path: Path) -> None:
    good, others = as_csv(BARE, FULL).split("\r\n", 1)[1], "x," * 21
    text = as_csv() + good + f'"two\nlines",{others}\n' + "short\n"
    (tmp_path / "usage.csv").write_bytes(text.encode() + b"\xff\xfe," + others.encode() + b"\n")
    report = json.loads(on_sqlite("usage", "import", "usage.csv", "--json").out)
    assert (report["inserted"], report["bad"], report["rejected"]) == (2, 3, "usage.csv.rejected")
    with (tmp_path / "usage.csv.rejected").open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        header, *rejected = csv.reader(lines)
    assert header == ["line", "reason", "text"]
    assert [row[2] for row in rejected] == [f'"two\nlines",{others}', "short", f"\udcff\udcfe,{others}"]
    assert [int(row[0]) for row in rejected] == [5, 7, 8]
    assert "has 1 of 22 columns" in rejected[1][1]
    assert "usage.csv.rejected" in on_sqlite("usage", "import", "usage.csv").err


def test_where_bad_lines_go_and_how_many_may_be_is_a_choice(on_sqlite: Run, tmp_path: Path) -> None:
    lines = as_json(BARE) + "{\n" * 200
    assert json.loads(on_sqlite("usage", "import", "-", "--json", stdin=lines).out)["bad"] == 100
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.db"]
    chosen = ("usage", "import", "-", "--json", "--max-bad", "1000", "--rejected", "bad.csv")
    report = json.loads(on_sqlite(*chosen, stdin=lines + as_json(FULL)).out)
    assert (report["bad"], report["already_there"], report["inserted"]) == (200, 1, 1)
    assert (report["is_complete"], len(report["bad_lines"])) == (True, 100)
    assert len((tmp_path / "bad.csv").read_text().splitlines()) == 201
    assert on_sqlite("usage", "import", "-", "--max-bad", "0", stdin=lines).code == 2


def test_usage_that_the_database_refuses_is_a_bad_line(gatewaydb: Run, database_url: str, tmp_path: Path) -> None:
    async def prune() -> None:
        async with Database(database_url) as db, db.transaction() as tx:
            await tx.execute("INSERT INTO usage_retention (pruned_before) VALUES ('2026-11-16T18:30:00.000000+00:00')")

    asyncio.run(prune())
    records = several(40)
    (tmp_path / "usage.jsonl").write_text(as_json(*records), encoding="utf-8")
    report = json.loads(gatewaydb("usage", "import", "usage.jsonl", "--json").out)
    late = [each for each in records if each.request_timestamp.minute >= 30]
    assert (report["inserted"], report["bad"]) == (len(late), len(records) - len(late))
    assert "pruned" in report["bad_lines"][0]["reason"]
    assert stored(database_url).keys() == {each.id for each in late}


def test_a_compressed_file_that_breaks_off_is_said(on_sqlite: Run, tmp_path: Path) -> None:
    whole = gzip.compress(as_json(*several(400)).encode())
    (tmp_path / "usage.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    failed = on_sqlite("usage", "import", "usage.jsonl.gz")
    assert (failed.code, "end-of-stream" in failed.err) == (1, True)


def test_a_line_without_an_end_is_not_read_into_memory(
    on_sqlite: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewaydb.cli.usage_files.LINE_MAX_CHARS", 1_000)
    (tmp_path / "zeros").write_bytes(b"\0" * 5_000)
    failed = on_sqlite("usage", "import", "zeros")
    assert (failed.code, "line 1: has more than 999 characters" in failed.err) == (1, True)


def test_a_trace_needs_a_key_and_a_model(on_sqlite: Run, tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00,1,1\n")
    failed = on_sqlite("usage", "import", "trace.csv")
    assert (failed.code, "give --api-key and --model" in failed.err) == (2, True)
