"""One repository per noun, on an engine or in a transaction."""

from typing import NamedTuple

from gatewaydb.cache import LRUCache
from gatewaydb.credentials import CredentialCipher
from gatewaydb.engines import Executor
from gatewaydb.entities import APIKey, Model
from gatewaydb.repositories.api_keys import APIKeyRepository
from gatewaydb.repositories.daily_usage_summaries import DailyUsageSummaryRepository
from gatewaydb.repositories.model_aliases import ModelAliasRepository
from gatewaydb.repositories.models import ModelRepository
from gatewaydb.repositories.monthly_usage_summaries import MonthlyUsageSummaryRepository
from gatewaydb.repositories.providers import ProviderRepository
from gatewaydb.repositories.usage_records import UsageRepository


class Caches(NamedTuple):
    """What is kept in front of the repositories."""

    api_keys: LRUCache[str, APIKey]
    models: LRUCache[str, Model]


class Repositories:
    """All repositories on one executor."""

    def __init__(self, db: Executor, caches: Caches, cipher: CredentialCipher, *, is_cached: bool) -> None:
        self.api_keys = APIKeyRepository(db, caches.api_keys, is_cached=is_cached)
        self.models = ModelRepository(db, caches.models, is_cached=is_cached)
        self.model_aliases = ModelAliasRepository(db)
        self.providers = ProviderRepository(db, cipher)
        self.usage = UsageRepository(db)
        self.daily_summaries = DailyUsageSummaryRepository(db)
        self.monthly_summaries = MonthlyUsageSummaryRepository(db)


__all__ = [
    "APIKeyRepository",
    "Caches",
    "DailyUsageSummaryRepository",
    "ModelAliasRepository",
    "ModelRepository",
    "MonthlyUsageSummaryRepository",
    "ProviderRepository",
    "Repositories",
    "UsageRepository",
]
