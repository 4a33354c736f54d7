"""The model catalog: reads LiteLLM's price file and brings the models of a database up to it."""

from gatewaydb.catalog.importer import ImportReport, ModelStore, import_catalog
from gatewaydb.catalog.reader import Catalog, Skipped, read_catalog

__all__ = ["Catalog", "ImportReport", "ModelStore", "Skipped", "import_catalog", "read_catalog"]
