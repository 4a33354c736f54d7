"""The model catalog: reads LiteLLM's price file and brings the models of a database up to it."""

from gatewaydb.catalog.comparison import ModelChange, PriceChange
from gatewaydb.catalog.importer import CatalogDiff, ImportReport, ModelStore, diff_catalog, import_catalog
from gatewaydb.catalog.reader import Catalog, Skipped, read_catalog

__all__ = [
    "Catalog",
    "CatalogDiff",
    "ImportReport",
    "ModelChange",
    "ModelStore",
    "PriceChange",
    "Skipped",
    "diff_catalog",
    "import_catalog",
    "read_catalog",
]
