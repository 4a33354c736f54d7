"""Providers, and their credentials, which are encrypted before they reach the database."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from gatewaydb.credentials import CredentialCipher
from gatewaydb.engines import Executor, Row
from gatewaydb.entities import Provider, checks
from gatewaydb.errors import ProviderNotFoundError
from gatewaydb.repositories.base import Repository, last_of_page, page
from gatewaydb.repositories.rows import json_text, provider_from


class ProviderRepository(Repository):
    """`db.providers`."""

    def __init__(self, db: Executor, cipher: CredentialCipher) -> None:
        super().__init__(db)
        self._cipher = cipher

    async def get_by_id(self, provider_id: UUID) -> Provider:
        """The provider with this id, without its credentials. Raises ProviderNotFoundError."""
        row = await self._db.fetch_one("provider_find_by_id", id=checks.identifier("id", provider_id))
        return provider_from(_found(row))

    async def get_by_name(self, name: str) -> Provider:
        """The provider of this name, without its credentials. Raises ProviderNotFoundError."""
        row = await self._db.fetch_one("provider_find_by_name", name=checks.text("name", name))
        return provider_from(_found(row))

    async def get_credentials(self, provider_id: UUID) -> dict[str, Any] | None:
        """The credentials in clear, for calling the provider; None where there are none.

        Raises ProviderNotFoundError, and ConfigurationError where no encryption key fits.
        """
        row = await self._db.fetch_one("provider_find_credentials", id=checks.identifier("id", provider_id))
        token = _found(row)["credentials"]
        return None if token is None else self._cipher.decrypt(token)

    async def list(self, limit: int = 50, offset: int = 0, after: Provider | UUID | None = None) -> Sequence[Provider]:
        """One page by name; `after` is the last provider of the page before, or its id."""
        return await self._list("provider_list", limit, offset, after)

    async def list_enabled(
        self, limit: int = 50, offset: int = 0, after: Provider | UUID | None = None
    ) -> Sequence[Provider]:
        """As `list`, only those that are enabled."""
        return await self._list("provider_list_enabled", limit, offset, after)

    async def create(self, provider: Provider) -> Provider:
        """Stores a new provider, its credentials encrypted; gives it without them.

        Raises AlreadyExistsError, InvalidValueError, and ConfigurationError for credentials without encryption keys.
        """
        new = provider.checked()
        now = self._db.clock.now()
        token = None if new.credentials is None else self._cipher.encrypt(new.credentials)
        await self._db.execute("provider_insert", id=new.id, now=now, credentials=token, **_columns(new))
        return replace(new, credentials=None, has_credentials=token is not None, created_at=now, updated_at=now)

    async def update(self, provider: Provider) -> Provider:
        """Stores everything, the credentials only where new ones are given; gives the provider as it is now.

        Raises ProviderNotFoundError, AlreadyExistsError, InvalidValueError, ConfigurationError.
        """
        new = provider.checked()
        now = self._db.clock.now()
        token = None if new.credentials is None else self._cipher.encrypt(new.credentials)
        async with self._db.transaction() as tx:
            if token is not None:
                _found(await tx.fetch_one("provider_set_credentials", id=new.id, credentials=token, now=now))
            _found(await tx.fetch_one("provider_update", id=new.id, now=now, **_columns(new)))
            row = await tx.fetch_one("provider_find_by_id", id=new.id)
        return provider_from(_found(row))

    async def set_credentials(self, provider_id: UUID, credentials: Mapping[str, Any] | None) -> None:
        """Replaces the credentials; None removes them. Raises ProviderNotFoundError, ConfigurationError."""
        key = checks.identifier("id", provider_id)
        token = None if credentials is None else self._cipher.encrypt(checks.json_object("credentials", credentials))
        now = self._db.clock.now()
        _found(await self._db.fetch_one("provider_set_credentials", id=key, credentials=token, now=now))

    async def rotate_credentials(self) -> int:
        """Encrypts all credentials with the first of the encryption keys, all or none; gives their number.

        Raises ConfigurationError where no key fits one of them.
        """
        now = self._db.clock.now()
        async with self._db.transaction() as tx:
            rows = await tx.fetch_all("provider_lock_credentials")
            await tx.execute_many(
                "provider_replace_credentials",
                [{**row, "credentials": self._cipher.rotated(row["credentials"]), "now": now} for row in rows],
            )
        return len(rows)

    async def delete(self, provider_id: UUID) -> None:
        """Deletes a provider. Raises ProviderNotFoundError, and StillReferencedError while a model names it."""
        _found(await self._db.fetch_one("provider_delete", id=checks.identifier("id", provider_id)))

    async def _list(self, statement: str, limit: int, offset: int, after: Provider | UUID | None) -> Sequence[Provider]:
        bounds = page(limit, offset)
        cursor = await last_of_page(after, Provider, self.get_by_id)
        rows = await self._db.fetch_all(statement, after="" if cursor is None else cursor.name, **bounds)
        return [provider_from(row) for row in rows]


def _columns(provider: Provider) -> dict[str, object]:
    return {
        "name": provider.name,
        "api_base": provider.api_base,
        "enabled": provider.enabled,
        "metadata": json_text(provider.metadata),
    }


def _found(row: Row | None) -> Row:
    if row is None:
        raise ProviderNotFoundError("no such provider")
    return row
