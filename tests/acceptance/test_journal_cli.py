"""`gatewaydb usage ship` and `usage journal`, as an operator runs them after a process has died."""

import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest

from gatewaydb import Database, UsageRecord
from tests.acceptance.conftest import Run

KEY = UUID(int=7)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A journal with three records that no database has seen."""
    folder = tmp_path / "usage-journal"

    async def record() -> None:
        recorder = Database("sqlite:///nowhere.db").recorder(folder)
        for number in range(3):
            await recorder.record(UsageRecord(api_key_id=KEY, request_id=f"{number}"))
        await recorder.close()

    asyncio.run(record())
    return folder


def test_a_journal_is_looked_into_and_shipped_once(run: Run, left: Path) -> None:
    before = run("usage", "journal", left, "--json").json
    assert (before["segments"], before["backlog_records"], before["damaged_places"]) == (1, 3, 0)
    assert run("usage", "ship", left, "--json").json == {
        "found": 3,
        "shipped": 3,
        "rejected": 0,
        "quarantined": 0,
        "torn": 0,
        "dropped": 0,
    }
    assert run("usage", "totals", "--json").json[0]["requests"] == 3
    assert run("usage", "ship", left, "--json").json["found"] == 0
    assert run("usage", "journal", left, "--json").json["backlog_records"] == 0
    assert "backlog records" in run("usage", "journal", left).out


def test_damage_is_told_and_makes_the_exit_code_1(run: Run, left: Path) -> None:
    [segment] = left.glob("0*")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data + b"\xf0")
    report = run("usage", "journal", left, "--json").json
    assert (report["backlog_records"], report["damaged_places"], report["torn_bytes"]) == (2, 1, 1)
    ran = run("usage", "ship", left)
    assert ran.code == 1
    assert "1 are not in the database" in ran.err
    [line] = (left / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["offset"] > 0
    assert run("usage", "journal", left, "--json").json["quarantined_entries"] == 1


@pytest.mark.parametrize("command", ["ship", "journal"])
def test_a_folder_that_is_no_journal_is_one_line_and_makes_nothing(run: Run, tmp_path: Path, command: str) -> None:
    ran = run("usage", command, tmp_path / "typo")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: {tmp_path / 'typo'} is no journal of a recorder\n"
    assert not (tmp_path / "typo").exists()
    assert not (tmp_path / "llmgateway.db").exists()
