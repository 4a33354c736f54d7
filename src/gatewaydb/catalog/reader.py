"""The catalog as models: from a file, from a URL, or from the snapshot that the package bundles."""

import asyncio
from pathlib import Path

from msgspec import Struct

from gatewaydb.catalog.entries import NOT_MODELS, Entries, model_from_entry
from gatewaydb.catalog.snapshot import load_entries, origin
from gatewaydb.catalog.sources import read_source, shown
from gatewaydb.entities import Model
from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import PriceValueError, decode_entries


class Skipped(Struct, frozen=True):
    """An entry that is no model of ours, and why."""

    name: str
    reason: str


class Catalog(Struct, frozen=True):
    """What one price file holds: `models` by name, each with its prices, and what could not be read.

    `source` says for people where it came from.
    """

    source: str
    models: tuple[Model, ...]
    skipped: tuple[Skipped, ...] = ()


async def read_catalog(source: str | Path | None = None, *, skip_invalid: bool = False) -> Catalog:
    """The catalog of a price file in LiteLLM's form: a path, an http(s) URL, or None for the bundled snapshot.

    An entry that cannot be read whole is skipped with its reason: half of it would be a wrong price or a wrong limit.
    A number that is no price (negative, a text) means that the file is not what it should be, and refuses all of it,
    unless `skip_invalid` skips such entries, too. Raises CatalogUnavailableError where there is no such file or page,
    InvalidValueError, which names the file, where it is no price file, is refused, or exceeds CATALOG_MAX_BYTES.
    """
    if source is None:
        return await asyncio.to_thread(lambda: _catalog(str(origin()), load_entries(), skip_invalid))
    data = await read_source(source)
    return await asyncio.to_thread(_parsed, shown(source), data, skip_invalid)


def _parsed(source: str, data: bytes, skip_invalid: bool) -> Catalog:
    try:
        return _catalog(source, decode_entries(data), skip_invalid)
    except InvalidValueError as error:
        raise InvalidValueError(f"{source}: {error}") from error


def _catalog(source: str, entries: Entries, skip_invalid: bool) -> Catalog:
    models, skipped = [], []
    for name in sorted(entries.keys() - NOT_MODELS):
        try:
            models.append(model_from_entry(name, entries[name]))
        except InvalidValueError as error:
            if isinstance(error, PriceValueError) and not skip_invalid:
                raise InvalidValueError(f"the entry {name!r} is refused, and the file with it: {error}") from None
            skipped.append(Skipped(name, str(error)))
    return Catalog(source, tuple(models), tuple(skipped))
