"""The bundled catalog: LiteLLM's entries, with every number as its literal text."""

from functools import cache, lru_cache
from typing import Any

import pytest

from gatewaydb.catalog import snapshot
from gatewaydb.pricing import PriceSheet, components_of

NOT_MODELS = ("sample_spec", "fallback_generalizations")


@lru_cache(maxsize=1)
def catalog_entries() -> dict[str, dict[str, Any]]:
    return {name: entry for name, entry in snapshot.load_entries().items() if name not in NOT_MODELS}


@cache
def catalog_sheet(name: str) -> PriceSheet:
    return PriceSheet(components_of(catalog_entries()[name]))


@pytest.fixture(scope="session")
def entries() -> dict[str, dict[str, Any]]:
    return catalog_entries()
