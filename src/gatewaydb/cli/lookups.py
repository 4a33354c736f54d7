"""How people name things: by id, by name, an API key also by the beginning of its hash."""

import re
from collections.abc import Iterable
from uuid import UUID

from gatewaydb import APIKey, Database, Model, ModelAlias, ModelAliasNotFoundError, Provider, ProviderNotFoundError
from gatewaydb.cli.errors import CommandError
from gatewaydb.config import PAGE_MAX_ROWS
from gatewaydb.errors import APIKeyNotFoundError, ModelNotFoundError
from gatewaydb.repositories.model_search import rank

_HASH_MIN_CHARS = 6


async def find_api_key(db: Database, text: str) -> APIKey:
    """The key of this id, name or beginning of a hash. Raises APIKeyNotFoundError; CommandError where several fit."""
    key_id = as_id(text)
    if key_id is not None:
        return await db.api_keys.get_by_id(key_id)
    found = await db.api_keys.get_by_name(text) or await _keys_by_hash(db, text)
    if not found:
        known = [key.name for key in await db.api_keys.list(PAGE_MAX_ROWS)]
        raise APIKeyNotFoundError(f"no API key has the name, id or hash {text!r}{_hint(text, known)}")
    if len(found) > 1:
        ids = ", ".join(str(key.id) for key in found[:10])
        raise CommandError(f"{len(found)} API keys are called {text!r}; name one by its id: {ids}")
    return found[0]


async def find_api_key_id(db: Database, text: str) -> UUID:
    """As `find_api_key`; an id need not be that of a key that still exists, as usage outlives its key."""
    return as_id(text) or (await find_api_key(db, text)).id


async def find_model(db: Database, text: str) -> Model:
    """The model of this name, alias or id. Raises ModelNotFoundError, which says what was probably meant."""
    try:
        return await db.models.get_by_name(text)
    except ModelNotFoundError:
        model_id = as_id(text)
        if model_id is None:
            raise
        return await db.models.get_by_id(model_id)


async def find_alias(db: Database, text: str) -> ModelAlias:
    """The alias of this name or id. Raises ModelAliasNotFoundError."""
    try:
        return await db.model_aliases.get_by_alias(text)
    except ModelAliasNotFoundError:
        alias_id = as_id(text)
        if alias_id is not None:
            return await db.model_aliases.get_by_id(alias_id)
        known = [alias.alias for alias in await db.model_aliases.list(PAGE_MAX_ROWS)]
        raise ModelAliasNotFoundError(f"no alias is named {text!r}{_hint(text, known)}") from None


async def find_provider(db: Database, text: str) -> Provider:
    """The provider of this name or id. Raises ProviderNotFoundError."""
    try:
        return await db.providers.get_by_name(text)
    except ProviderNotFoundError:
        provider_id = as_id(text)
        if provider_id is not None:
            return await db.providers.get_by_id(provider_id)
        known = [provider.name for provider in await db.providers.list(PAGE_MAX_ROWS)]
        raise ProviderNotFoundError(f"no provider is named {text!r}{_hint(text, known)}") from None


async def api_key_names(db: Database, ids: Iterable[UUID]) -> dict[UUID, str]:
    """The names of the keys that still exist."""
    found = {}
    for key_id in dict.fromkeys(ids):
        try:
            found[key_id] = (await db.api_keys.get_by_id(key_id)).name
        except APIKeyNotFoundError:
            continue
    return found


async def model_names(db: Database, ids: Iterable[UUID]) -> dict[UUID, str]:
    """The names of the models that still exist."""
    found = {}
    for model_id in dict.fromkeys(ids):
        try:
            found[model_id] = (await db.models.get_by_id(model_id)).name
        except ModelNotFoundError:
            continue
    return found


def as_id(text: str) -> UUID | None:
    """The id that the text writes out, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None


async def _keys_by_hash(db: Database, text: str) -> list[APIKey]:
    prefix = text.lower()
    if len(prefix) < _HASH_MIN_CHARS or not re.fullmatch("[0-9a-f]+", prefix):
        return []
    return list(await db.api_keys.get_by_hash_prefix(prefix))


def _hint(text: str, known: Iterable[str]) -> str:
    close = rank(text, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
