"""The price catalog that the package bundles: `snapshot.jsonl.gz`, two lines of JSON.

The first says where it comes from, the second holds the entries as LiteLLM's file has them, number for number.
`scripts/make_catalog_snapshot.py` makes it; NOTICE.txt beside it holds the licence.
"""

import gzip
from importlib import resources
from typing import Any

import msgspec

from gatewaydb.pricing import decode_entries

FILE = "snapshot.jsonl.gz"


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the snapshot comes from: `file` of a release of a project, with its SHA-256, on the day it was `taken`."""

    project: str
    version: str
    licence: str
    file: str
    sha256: str
    taken: str

    def __str__(self) -> str:
        return f"{self.project} {self.version} ({self.licence}), taken {self.taken}"


def origin() -> Origin:
    """The source and the licence of the bundled catalog."""
    return msgspec.json.decode(_lines()[0], type=Origin)


def load_entries() -> dict[str, dict[str, Any]]:
    """The bundled entries by name, every number as `NumberText`."""
    return decode_entries(_lines()[1])


def _lines() -> list[bytes]:
    packed = resources.files("gatewaydb.catalog").joinpath(FILE).read_bytes()
    return gzip.decompress(packed).splitlines()
