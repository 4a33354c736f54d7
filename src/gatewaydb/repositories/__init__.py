"""One repository per noun, on an engine or in a transaction."""

from datetime import timedelta
from typing import Any, NamedTuple, Self

from gatewaydb.cache import Memory
from gatewaydb.clock import Clock
from gatewaydb.config import DatabaseConfig
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
    """What is remembered in front of the repositories."""

    api_keys: Memory[str, APIKey]
    models: Memory[str, Model]

    @classmethod
    def of(cls, config: DatabaseConfig, clock: Clock) -> Self:
        """Empty ones, with the settings."""
        shared: dict[str, Any] = {
            "policy": config.cache_policy,
            "stale": config.stale_if_error,
            "absent_capacity": config.absent_size,
            "absent_ttl": config.absent_ttl,
        }
        return cls(
            Memory(config.api_key_cache_size, config.api_key_cache_ttl, clock, **shared),
            Memory(config.model_cache_size, config.model_cache_ttl, clock, **shared),
        )

    @classmethod
    def none(cls, clock: Clock) -> Self:
        """Such that stay empty: for a transaction, whose reads look into them and store nothing."""
        return cls(Memory(1, timedelta(0), clock), Memory(1, timedelta(0), clock))


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
