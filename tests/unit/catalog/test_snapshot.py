"""The bundled catalog is LiteLLM's file, number for number."""

import gzip
import subprocess
import sys
from hashlib import sha256
from importlib import resources

from gatewaydb.catalog import read_catalog, snapshot
from gatewaydb.pricing import NumberText, decode_entries
from scripts.make_catalog_snapshot import packed, written

# Of LiteLLM 1.109.1's file itself, and of what the script writes of it.
FILE_SHA256 = "8f8060d8ce7a40c91b995c74d6a27657543d49e3c1c53430dabd556f244392c6"
CONTENT_SHA256 = "837f55ea907bc3a330ede8dc111969bce9c8eefb8a5c41bc6fdbb5e1b207d26e"

OFFLINE = """
import asyncio, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"{event}: {arguments}")

sys.addaudithook(refuse)
from gatewaydb.catalog import read_catalog
print(len(asyncio.run(read_catalog()).models))
"""


def test_the_snapshot_holds_what_the_file_of_that_release_holds() -> None:
    assert sha256(written(snapshot.load_entries()).encode()).hexdigest() == CONTENT_SHA256


def test_the_snapshot_names_its_source_and_licence() -> None:
    origin = snapshot.origin()
    assert (origin.project, origin.version, origin.licence, origin.sha256) == ("LiteLLM", "1.109.1", "MIT", FILE_SHA256)
    notice = resources.files("gatewaydb.catalog").joinpath("NOTICE.txt").read_text(encoding="utf-8")
    assert f"{origin.project} {origin.version}" in notice
    assert "Copyright (c) 2023 Berri AI" in notice
    assert origin.taken in notice


async def test_every_entry_of_the_snapshot_is_a_model() -> None:
    catalog = await read_catalog()
    assert (len(catalog.models), catalog.skipped) == (4_551, ())
    assert catalog.source == "LiteLLM 1.109.1 (MIT), taken 2026-11-23"


def test_the_snapshot_is_read_without_a_network() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("4551\n", "")


def test_the_script_keeps_literals_text_and_order() -> None:
    data = '{"z/é": {"p": 5e-07, "t": "5e-07", "n": [1, 1.0, null, true, {"\\"": "\\n"}]}, "a": {}}'
    first, second, end = packed_lines(data.encode())
    assert b'"version":"9.9.9"' in first
    assert not end
    entries = decode_entries(second)
    assert list(entries) == ["z/é", "a"]
    assert written(entries) == second.decode()
    assert [type(entries["z/é"][field]) for field in ("p", "t")] == [NumberText, str]
    assert entries == decode_entries(data)


def test_the_script_gives_the_same_bytes_again() -> None:
    assert packed(b'{"a": {}}', "f.json", "1", "2026-01-01") == packed(b'{"a": {}}', "f.json", "1", "2026-01-01")


def packed_lines(data: bytes) -> list[bytes]:
    return gzip.decompress(packed(data, "f.json", "9.9.9", "2026-01-01")).split(b"\n")
