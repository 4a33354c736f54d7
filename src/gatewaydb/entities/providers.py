"""The provider: where a model is called."""

from collections.abc import Mapping
from typing import Any, Self

from msgspec.structs import replace

from gatewaydb.entities import checks
from gatewaydb.entities.base import Entity
from gatewaydb.entities.frozen import EMPTY


class Provider(Entity, frozen=True, kw_only=True, gc=False):
    """A service that serves models.

    `credentials` is written only: it is encrypted on the way in, a provider that was read has None there, and
    `db.providers.get_credentials(id)` is the one way to have it back. `has_credentials` says whether there are any.
    """

    name: str
    api_base: str | None = None
    enabled: bool = True
    metadata: Mapping[str, Any] = EMPTY
    credentials: Mapping[str, Any] | None = None
    has_credentials: bool = False

    def checked(self) -> Self:
        """The provider as it will be stored. Raises InvalidValueError."""
        given = self.credentials
        return replace(
            self,
            id=checks.identifier("id", self.id),
            name=checks.text("name", self.name),
            api_base=checks.optional_text("api_base", self.api_base, 2_000),
            enabled=checks.boolean("enabled", self.enabled),
            metadata=checks.json_object("metadata", self.metadata),
            credentials=None if given is None else checks.json_object("credentials", given),
        )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name == "credentials" and value is not None else value) for name, value in shown]

    def __repr__(self) -> str:
        return f"Provider({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
