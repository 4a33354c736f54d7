"""The API key: who is calling."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Self

from msgspec.structs import replace

from gatewaydb.config import ALLOWED_MODELS_MAX, BUDGET_MAX_USD, HASH_MAX_CHARS
from gatewaydb.entities import checks
from gatewaydb.entities.base import Entity, utc_now
from gatewaydb.entities.frozen import EMPTY, FrozenDict
from gatewaydb.entities.models import Model
from gatewaydb.errors import InvalidValueError


class APIKey(Entity, frozen=True, kw_only=True, gc=False):
    """A caller's key. The secret itself is never stored, only its SHA-256 as hex text (`key_hash`).

    `allowed_models` holds names, aliases and patterns such as "openai/*"; empty: every model. `rate_limit_per_minute`
    and `monthly_budget_usd` (US dollars) are None where there is no limit. `metadata` is {type: {key: value}}, texts.
    """

    name: str
    key_hash: str
    allowed_models: Sequence[str] = ()
    rate_limit_per_minute: int | None = None
    monthly_budget_usd: Decimal | None = None
    enabled: bool = True
    expires_at: datetime | None = None
    metadata: Mapping[str, Mapping[str, str]] = EMPTY

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether `expires_at` has come, by the system's clock if `now` is not given."""
        return self.expires_at is not None and self.expires_at <= (now or utc_now())

    def is_valid(self, now: datetime | None = None) -> bool:
        """Whether it is enabled and not expired."""
        return self.enabled and not self.is_expired(now)

    def allows_model(self, model: str | Model) -> bool:
        """Whether this key may call the model.

        A text matches an entry of `allowed_models` exactly or by pattern (`*` stands for any characters). A `Model` is
        allowed under its name or any of its aliases.
        """
        if not self.allowed_models:
            return True
        asked = (model,) if isinstance(model, str) else (model.name, *model.aliases)
        return any(name in self.allowed_models for name in asked) or any(
            _pattern(allowed).fullmatch(name) is not None
            for allowed in self.allowed_models
            if "*" in allowed
            for name in asked
        )

    def checked(self) -> Self:
        """The key as it will be stored. Raises InvalidValueError."""
        return replace(
            self,
            id=checks.identifier("id", self.id),
            name=checks.text("name", self.name),
            key_hash=checks.text("key_hash", self.key_hash, HASH_MAX_CHARS),
            allowed_models=checks.names("allowed_models", self.allowed_models, ALLOWED_MODELS_MAX),
            rate_limit_per_minute=checks.optional_count("rate_limit_per_minute", self.rate_limit_per_minute),
            monthly_budget_usd=checks.optional_money("monthly_budget_usd", self.monthly_budget_usd, BUDGET_MAX_USD),
            enabled=checks.boolean("enabled", self.enabled),
            expires_at=checks.optional_instant("expires_at", self.expires_at),
            metadata=checked_metadata(self.metadata),
        )


def checked_metadata(metadata: object) -> FrozenDict:
    """{type: {key: value}} with texts in every place. Raises InvalidValueError."""
    typed = checks.json_object("metadata", metadata)
    for kind, pairs in typed.items():
        checks.text("metadata type", kind)
        if not isinstance(pairs, Mapping):
            raise InvalidValueError("metadata: must be {type: {key: value}}")
        for key, value in pairs.items():
            checked_pair(kind, key, value)
    return typed


def checked_pair(kind: str, key: str, value: str) -> tuple[str, str, str]:
    """One piece of metadata. Raises InvalidValueError."""
    return (
        checks.text("metadata type", kind),
        checks.text("metadata key", key),
        checks.free_text("metadata value", value, 10_000),
    )


@lru_cache(maxsize=4096)
def _pattern(allowed: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in allowed.split("*")), re.DOTALL)
