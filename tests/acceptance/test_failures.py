"""A mistake is one line on stderr and a code for the shell, never a traceback."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Run

Start = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("kys", "list"), 2, 'Did you mean "keys"?'),
        (("keys", "lst"), 2, 'Did you mean "list"?'),
        (("keys", "list", "--limt", "3"), 2, "Did you mean --limit?"),
        (("keys", "list", "--limit"), 2, "gatewaydb keys list --help"),
        (("keys", "list", "--limit", "many"), 2, "--limit"),
        (("keys", "list", "--limit", "0"), 2, "limit"),
        (("keys", "list", "--limit", "1000000"), 2, "limit"),
        (("keys", "list", "--offset", "-1"), 2, "offset"),
        (("keys", "create"), 2, "NAME"),
        (("keys", "create", "a", "b"), 2, "more arguments"),
        (("keys", "create", ""), 2, "name"),
        (("keys", "create", "x" * 300), 2, "name"),
        (("keys", "create", "x\ud800"), 2, "name"),
        (("keys", "create", "x", "--budget", "much"), 2, "--budget"),
        (("keys", "create", "x", "--budget", "-1"), 2, "--budget"),
        (("keys", "create", "x", "--budget", "nan"), 2, "--budget"),
        (("keys", "create", "x", "--rate-limit", "1.5"), 2, "--rate-limit"),
        (("keys", "create", "x", "--expires", "soon"), 2, "--expires"),
        (("keys", "create", "x", "--expires", "999999999y"), 2, "--expires"),
        (("keys", "create", "x", "--models", ","), 2, "--models"),
        (("keys", "create", "x", "--metadata", "tag"), 2, "key=value"),
        (("keys", "create", "x", "--metadata", "tag=1"), 2, "type.key"),
        (("keys", "show", "nobody"), 1, "nobody"),
        (("keys", "show", "00000000-0000-0000-0000-000000000000"), 1, "no such API key"),
        (("keys", "set-metadata", "nobody", "a.b=c"), 1, "nobody"),
        (("models", "show", "nothing"), 1, "nothing"),
        (("models", "import", "missing.json"), 1, "missing.json"),
        (("models", "import", "ftp://example.com/x"), 2, "http"),
        (("aliases", "create", "fast", "nothing"), 1, "nothing"),
        (("providers", "show", "nobody"), 1, "nobody"),
        (("usage", "import", "missing.csv", "--api-key", "a", "--model", "b"), 1, "missing.csv"),
        (("summaries", "show", "nobody"), 1, "nobody"),
        (("status", "--database", "mysql://host/x"), 2, "sqlite://"),
        (("status", "--database", ""), 2, "--database"),
        (("keys", "list", "--database", "sqlite:////no/such/folder/x.db"), 1, "unable to open"),
        (("init", "--database", "sqlite:////no/such/folder/x.db"), 1, "unable to open"),
    ],
)
def test_a_mistake_is_one_line(on_sqlite: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    failed = on_sqlite(*arguments)
    assert (failed.code, failed.out) == (code, "")
    assert failed.err.startswith("error: ")
    assert failed.err.count("\n") == 1
    assert said in failed.err


def test_a_bad_setting_in_the_environment_is_named(on_sqlite: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_API_KEY_TTL", "soon")
    failed = on_sqlite("keys", "list")
    assert (failed.code, "api_key_cache_ttl" in failed.err) == (2, True)


@pytest.mark.parametrize("command", [("keys", "list"), ("init",), ("migrate",), ("stats",), ("demo",)])
def test_an_unreachable_database_is_said_without_its_password(run: Run, command: tuple[str, ...]) -> None:
    failed = run(*command, "--database", "postgresql://user:hunter2@localhost:1/x")
    assert failed.code == 1
    assert failed.err.startswith("error: ")
    assert "hunter2" not in failed.err


def test_status_of_an_unreachable_database_is_a_report(run: Run) -> None:
    report = run("status", "--database", "postgresql://user:hunter2@localhost:1/x")
    assert (report.code, "hunter2" in report.out, "***" in report.out) == (1, False, True)


def test_a_file_that_is_no_database_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, " * 100, encoding="utf-8")
    for command in (("keys", "list"), ("init",)):
        failed = run(*command, "--database", "sqlite:///text.db")
        assert (failed.code, failed.err.startswith("error: ")) == (1, True)


def test_ctrl_c_ends_with_130_and_leaves_whole_batches(
    start: Start, on_sqlite: Run, sqlite_url: str, prices: Path
) -> None:
    on_sqlite("models", "import", str(prices))
    on_sqlite("keys", "create", "one")
    header, rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n", "2023-11-16 18:00:00,1,1\n" * 10_000
    importing = start("usage", "import", "-", "--api-key", "one", "--model", "gpt-4o", DATABASE_URL=sqlite_url)
    assert importing.stdin is not None
    # More than a pipe holds: when it is written, the command is reading. The pipe stays open, so that it reads on.
    importing.stdin.write(header + rows)
    importing.stdin.flush()
    importing.send_signal(signal.SIGINT)
    importing.wait(timeout=60)
    assert importing.communicate() == ("", "error: interrupted\n")
    assert importing.returncode == 130
    there = on_sqlite("stats", "--json").json["tables"]["usage_records"]
    assert there % 1_000 == 0
    again = on_sqlite("usage", "import", "-", "--api-key", "one", "--model", "gpt-4o", "--json", stdin=header + rows)
    assert (again.json["already_there"], again.json["inserted"]) == (there, 10_000 - there)


def test_a_reader_that_has_seen_enough_is_no_error(start: Start, sqlite_url: str, run: Run) -> None:
    run("models", "import", "--database", sqlite_url)
    for more in ((), ("--json",)):
        listing = start("models", "list", "--limit", "10000", *more, DATABASE_URL=sqlite_url)
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.read(10)
        listing.stdout.close()
        assert listing.stderr.read() == ""
        # Whether the writer hears of it depends on how much it had written already.
        assert listing.wait(timeout=60) in (0, 1)


def test_another_encoding_is_no_error(start: Start, sqlite_url: str, run: Run) -> None:
    run("keys", "create", "schlüssel 钥匙", "--database", sqlite_url)
    listing = start("keys", "list", DATABASE_URL=sqlite_url, PYTHONIOENCODING="ascii")
    out, err = listing.communicate(timeout=60)
    assert (listing.returncode, err) == (0, "")
    assert "schl?ssel" in out
