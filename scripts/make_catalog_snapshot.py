"""Makes the bundled catalog from LiteLLM's price file; the same input gives the same content.

    python scripts/make_catalog_snapshot.py model_prices_and_context_window_backup.json 1.109.1 2026-11-23

The file is in LiteLLM's wheel; then come LiteLLM's version and the day it was taken. LiteLLM itself is never imported.
NOTICE.txt beside the snapshot has to hold the licence of that version.
"""

import gzip
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from gatewaydb.catalog import snapshot
from gatewaydb.pricing import NumberText, decode_entries

TARGET = Path(__file__).parents[1] / "src" / "gatewaydb" / "catalog" / snapshot.FILE


def packed(data: bytes, file: str, version: str, taken: str) -> bytes:
    """The snapshot of a price file's content."""
    origin = snapshot.Origin("LiteLLM", version, "MIT", file, sha256(data).hexdigest(), taken)
    lines = msgspec.json.encode(origin) + b"\n" + written(decode_entries(data)).encode() + b"\n"
    return gzip.compress(lines, compresslevel=9, mtime=0)


def written(value: Any) -> str:
    """Compact JSON in ASCII, with each number as its literal."""
    if isinstance(value, NumberText):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    source, release, day = sys.argv[1:]
    TARGET.write_bytes(packed(Path(source).read_bytes(), Path(source).name, release, day))
