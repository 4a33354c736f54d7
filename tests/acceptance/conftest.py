"""The command as a user runs it: in this process, which is fast, or in one of its own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gatewaydb.cli import main
from tests.conftest import ENCRYPTION_KEY

ROOT = Path(__file__).parents[2]
PRICES: dict[str, dict[str, Any]] = {
    "gpt-4o": {
        "litellm_provider": "openai",
        "mode": "chat",
        "max_input_tokens": 128000,
        "supports_vision": True,
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-06,
    },
    "gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07},
    "claude-sonnet-5": {
        "litellm_provider": "anthropic",
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
    },
    "house-llama": {"litellm_provider": "in-house", "mode": "chat"},
    "broken": {"litellm_provider": "openai", "max_tokens": "many"},
}


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with --json."""
        assert self.code == 0, self.err
        return json.loads(self.out)


class Typed(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in this process, in an empty folder; `stdin` is what is piped into it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAYDB_ENCRYPTION_KEYS", ENCRYPTION_KEY)

    def running(*arguments: str, stdin: str = "", is_terminal: bool = False) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "stdin", Typed(stdin) if is_terminal else io.StringIO(stdin))
        code = main([str(argument) for argument in arguments])
        ran = Ran(code, *capsys.readouterr())
        assert "Traceback" not in ran.err
        return ran

    return running


@pytest.fixture
def gatewaydb(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As `run`, on a migrated, empty database of each engine."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return run


@pytest.fixture
def on_sqlite(run: Run, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As `gatewaydb`, on SQLite only: for what no engine has a part in."""
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    return run


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """A small price file: three models with prices, one without, one that cannot be read."""
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(PRICES), encoding="utf-8")
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command in a process of its own, whose pipes are closed when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def starting(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from gatewaydb.cli import main; sys.exit(main())", *arguments],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(ROOT / "src"), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield starting
    for process in started:
        process.kill()
        with process:
            pass
