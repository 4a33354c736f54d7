"""The model alias: another name for a model."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from msgspec.structs import replace

from gatewaydb.entities import checks
from gatewaydb.entities.base import Entity
from gatewaydb.entities.frozen import EMPTY, FrozenDict
from gatewaydb.errors import InvalidValueError


class ModelAlias(Entity, frozen=True, kw_only=True, gc=False):
    """`alias` stands for the model `model_id` while it is enabled; a model's own name wins over an alias.

    `tags` is {key: value}, texts.
    """

    alias: str
    model_id: UUID
    enabled: bool = True
    tags: Mapping[str, str] = EMPTY

    def checked(self) -> Self:
        """The alias as it will be stored. Raises InvalidValueError."""
        return replace(
            self,
            id=checks.identifier("id", self.id),
            alias=checks.text("alias", self.alias),
            model_id=checks.identifier("model_id", self.model_id),
            enabled=checks.boolean("enabled", self.enabled),
            tags=_checked_tags(self.tags),
        )


def checked_tag(key: str, value: str) -> tuple[str, str]:
    """One tag. Raises InvalidValueError."""
    return checks.text("tag key", key), checks.free_text("tag value", value, 10_000)


def _checked_tags(tags: object) -> FrozenDict:
    pairs = checks.json_object("tags", tags)
    for key, value in pairs.items():
        if not isinstance(value, str):
            raise InvalidValueError("tags: must be {key: value} with texts")
        checked_tag(key, value)
    return pairs
