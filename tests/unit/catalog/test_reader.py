"""A price file becomes a catalog; a malformed one is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from gatewaydb.catalog import read_catalog
from gatewaydb.config import CATALOG_MAX_BYTES
from gatewaydb.errors import CatalogUnavailableError, InvalidValueError


def price_file(folder: Path, content: bytes | dict[str, Any]) -> Path:
    path = folder / "prices.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


async def test_models_come_by_name_and_one_bad_entry_stops_none(tmp_path: Path) -> None:
    entries = {"b": {"mode": "chat"}, "bad": {"max_tokens": "many"}, "a": {"input_cost_per_token": 1e-06}}
    path = price_file(tmp_path, entries)
    catalog = await read_catalog(path)
    assert catalog.source == str(path)
    assert [model.name for model in catalog.models] == ["a", "b"]
    assert [skipped.name for skipped in catalog.skipped] == ["bad"]
    assert "max_tokens" in catalog.skipped[0].reason


@pytest.mark.parametrize("price", [-1, "cheap", "0.001", True, [1], 1e12], ids=repr)
async def test_a_number_that_is_no_price_refuses_the_file_unless_told_to_skip(tmp_path: Path, price: object) -> None:
    path = price_file(tmp_path, {"good": {"mode": "chat"}, "bad": {"input_cost_per_token": price}})
    with pytest.raises(InvalidValueError, match=r"prices\.json: the entry 'bad' is refused.*input_cost_per_token"):
        await read_catalog(path)
    catalog = await read_catalog(path, skip_invalid=True)
    assert [model.name for model in catalog.models] == ["good"]
    assert [skipped.name for skipped in catalog.skipped] == ["bad"]


async def test_a_price_of_a_new_kind_skips_its_entry_only(tmp_path: Path) -> None:
    path = price_file(tmp_path, {"good": {"mode": "chat"}, "new": {"hologram_cost_per_cubit": 0.1}})
    assert [skipped.name for skipped in (await read_catalog(path)).skipped] == ["new"]


async def test_what_describes_the_file_is_no_model(tmp_path: Path) -> None:
    notes = {"sample_spec": {"max_tokens": "the limit"}, "fallback_generalizations": {"rules": []}}
    catalog = await read_catalog(str(price_file(tmp_path, notes)))
    assert not catalog.models
    assert not catalog.skipped


async def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    catalog = await read_catalog(price_file(tmp_path, '{"é": {}}'.encode("utf-8-sig")))
    assert [model.name for model in catalog.models] == ["é"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"m": {"input_cost_per_token": 5e-0',
        b'{"m": {}} {"n": {}}',
        b'[{"m": {}}]',
        b'{"m": 3}',
        b'{"m": {}, "m": {}}',
        b'{"m": {"input_cost_per_token": NaN}}',
        b'{"m": {"input_cost_per_token": -Infinity}}',
        b'{"m": {"comment": "\xff\xfe"}}',
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
    ],
    ids=lambda content: ascii(content)[:40],
)
async def test_a_malformed_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidValueError, match=r"prices\.json: "):
        await read_catalog(price_file(tmp_path, content))


async def test_a_huge_file_is_refused_before_it_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(InvalidValueError, match=rf"huge\.json: is larger than {CATALOG_MAX_BYTES:,} bytes"):
        await read_catalog(path)


@pytest.mark.parametrize("name", ["missing.json", "folder"])
async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(CatalogUnavailableError, match=name):
        await read_catalog(tmp_path / name)


@pytest.mark.parametrize("source", ["", "a\0b", "\ud800"], ids=ascii)
async def test_a_source_that_names_no_file_is_invalid(source: str) -> None:
    with pytest.raises(InvalidValueError, match="source"):
        await read_catalog(source)
