"""API keys: issuing them, telling who calls, and changing them. Reads by hash go through the cache."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

from msgspec.structs import replace

from gatewaydb.cache import CacheStats, Memory, ReadThrough, Uncached
from gatewaydb.config import HASH_MAX_CHARS
from gatewaydb.credentials import hash_secret, new_secret
from gatewaydb.engines import Executor, Lookup, Row
from gatewaydb.entities import APIKey, checks
from gatewaydb.entities.api_keys import checked_pair
from gatewaydb.entities.frozen import EMPTY
from gatewaydb.errors import APIKeyDisabledError, APIKeyExpiredError, APIKeyNotFoundError, InvalidValueError
from gatewaydb.repositories.base import DONE, FIRST_ID, Done, Repository, page, room_for
from gatewaydb.repositories.rows import api_key_from, api_key_to_keep, json_text

NOUN = "api_keys"
_LAST_CHAR = "\U0010ffff"
# OpenSSL looks the algorithm up for each new hash; a copy saves that, a tenth of the whole hit.
_new_sha256 = sha256().copy


class APIKeyRepository(Repository):
    """`db.api_keys`."""

    def __init__(self, db: Executor, memory: Memory[str, APIKey], *, is_cached: bool) -> None:
        super().__init__(db)
        reader = db.coalesced(Lookup(self._find, self._find_many, api_key_to_keep))
        self._reads = (ReadThrough if is_cached else Uncached)(memory, reader, "API keys")
        self._cache = memory.values
        self._clock = db.clock

    async def get_by_hash(self, key_hash: str) -> APIKey:
        """The key whose secret has this hash, from the cache if it is there. Raises APIKeyNotFoundError."""
        cache = self._cache
        try:
            entry = cache.live[key_hash]
        except (KeyError, TypeError):
            return await self._miss(key_hash)
        entry.used = cache.tick = cache.tick + 1
        return entry.value

    async def authenticate(self, secret: str) -> APIKey:
        """The valid key of this secret; the verdict is of this moment and never cached.

        Raises APIKeyNotFoundError, APIKeyDisabledError or APIKeyExpiredError. Tell these apart in a log; a caller
        should learn no more than that the key does not work.
        """
        cache = self._cache
        try:
            digest = _new_sha256()
            digest.update(secret.encode())
            entry = cache.live[digest.hexdigest()]
        except (KeyError, AttributeError, UnicodeEncodeError):
            key = await self._miss(_hash_of(secret))
        else:
            entry.used = cache.tick = cache.tick + 1
            key = entry.value
        if key.enabled and (key.expires_at is None or key.expires_at > self._clock.now()):
            return key
        if not key.enabled:
            raise APIKeyDisabledError(f"the API key {key.name!r} is disabled")
        raise APIKeyExpiredError(f"the API key {key.name!r} has expired")

    async def get_by_id(self, api_key_id: UUID) -> APIKey:
        """The key with this id, from the database. Raises APIKeyNotFoundError."""
        row = await self._db.fetch_one("api_key_find_by_id", id=checks.identifier("id", api_key_id))
        return api_key_from(_found(row))

    async def get_by_name(self, name: str) -> list[APIKey]:
        """The keys of this name, oldest first: names need not be unique. At most 1000."""
        rows = await self._db.fetch_all("api_key_find_by_name", name=checks.text("name", name), limit=1000)
        return [api_key_from(row) for row in rows]

    async def get_by_hash_prefix(self, prefix: str, limit: int = 10) -> Sequence[APIKey]:
        """The keys whose hashes begin with this text, from the database."""
        first = checks.text("prefix", prefix, HASH_MAX_CHARS)
        bounds = {"first": first, "beyond": first + _LAST_CHAR, "limit": checks.page(limit, 0)[0]}
        return [api_key_from(row) for row in await self._db.fetch_all("api_key_find_by_hash_range", **bounds)]

    async def list(self, limit: int = 50, offset: int = 0, after: APIKey | UUID | None = None) -> Sequence[APIKey]:
        """One page in the order of their making; `after` is the last key of the page before, or its id."""
        cursor = after.id if isinstance(after, APIKey) else after
        place = FIRST_ID if cursor is None else checks.identifier("after", cursor)
        rows = await self._db.fetch_all("api_key_list", **page(limit, offset, after=place))
        return [api_key_from(row) for row in rows]

    async def issue(
        self,
        name: str,
        *,
        allowed_models: Sequence[str] = (),
        rate_limit_per_minute: int | None = None,
        monthly_budget_usd: Decimal | None = None,
        expires_at: datetime | None = None,
        metadata: Mapping[str, Mapping[str, str]] = EMPTY,
    ) -> tuple[APIKey, str]:
        """A new key and its secret, `sk-...`. The secret is shown here once: only its hash is stored."""
        secret = new_secret()
        key = APIKey(
            name=name,
            key_hash=hash_secret(secret),
            allowed_models=allowed_models,
            rate_limit_per_minute=rate_limit_per_minute,
            monthly_budget_usd=monthly_budget_usd,
            expires_at=expires_at,
            metadata=metadata,
        )
        return await self.create(key), secret

    async def create(self, api_key: APIKey) -> APIKey:
        """Stores a new key with its metadata; gives it as stored. Raises AlreadyExistsError, InvalidValueError."""
        key = api_key.checked()
        now = self._clock.now()
        with self._db.changing(NOUN) as changed:
            changed.add(key.key_hash)
            async with self._db.transaction() as tx:
                await tx.execute("api_key_insert", id=key.id, now=now, **_settings(key))
                await tx.execute_many("api_key_metadata_set", _metadata_rows(key))
        return replace(key, created_at=now, updated_at=now)

    async def update(self, api_key: APIKey) -> APIKey:
        """Stores everything but the metadata, which `set_metadata` changes; gives the key as it is now.

        Raises APIKeyNotFoundError, AlreadyExistsError, InvalidValueError.
        """
        key = api_key.checked()
        with self._db.changing(NOUN) as changed:
            async with self._db.transaction() as tx:
                old = _found(await tx.fetch_one("api_key_lock", id=key.id))
                await tx.execute("api_key_update", id=key.id, now=self._clock.now(), **_settings(key))
                row = await tx.fetch_one("api_key_find_by_id", id=key.id)
            changed |= {old["key_hash"], key.key_hash}
        return api_key_from(_found(row))

    async def set_enabled(self, api_key_id: UUID, enabled: bool) -> None:
        """Switches a key on or off; it is refused from now on. Raises APIKeyNotFoundError."""
        is_on = checks.boolean("enabled", enabled)
        await self._write("api_key_set_enabled", api_key_id, enabled=is_on, now=self._clock.now())

    async def delete(self, api_key_id: UUID) -> None:
        """Deletes the key and its metadata; its usage stays recorded. Raises APIKeyNotFoundError."""
        await self._write("api_key_delete", api_key_id)

    async def set_metadata(self, api_key_id: UUID, type: str, key: str, value: str) -> None:  # noqa: A002
        """Sets one value of the key's metadata, `type -> key -> value`. Raises APIKeyNotFoundError."""
        kind, name, text = checked_pair(type, key, value)
        await self._write_metadata("api_key_metadata_set", api_key_id, type=kind, key=name, value=text)

    async def delete_metadata(self, api_key_id: UUID, type: str, key: str) -> None:  # noqa: A002
        """Removes one value of the key's metadata, if it is there. Raises APIKeyNotFoundError."""
        kind, name, _ = checked_pair(type, key, "")
        await self._write_metadata("api_key_metadata_delete", api_key_id, type=kind, key=name)

    async def warm(self, limit: int | None = None) -> int:
        """Fills the room in the cache with the keys that were used last, `limit` at most; gives their number."""
        rows = await self._db.fetch_all("warm_api_key_hashes", limit=room_for(self._cache, limit))
        return await self._reads.fill([row["key_hash"] for row in rows])

    def cache_stats(self) -> CacheStats:
        """What the cache holds, and what became of what it lacked."""
        return self._reads.stats()

    def invalidate_cache(self, key_hash: str) -> Done:
        """Forgets one key, at once; the next read asks the database. Needed after changes from outside only."""
        self._reads.forget(key_hash)
        return DONE

    def apply_change(self, key_hashes: frozenset[str] | None) -> None:
        """Forgets what changed (None: everything)."""
        if key_hashes is None:
            self._reads.forget_all()
        else:
            for key_hash in key_hashes:
                self._reads.forget(key_hash)

    async def _miss(self, key_hash: str) -> APIKey:
        asked = checks.text("key_hash", key_hash)
        self._db.require_here()
        key = await self._reads.fetch(asked)
        if key is None:
            raise APIKeyNotFoundError("no such API key")
        return key

    async def _find(self, key_hash: str) -> Row | None:
        return await self._db.fetch_one("api_key_find_by_hash", key_hash=key_hash)

    async def _find_many(self, key_hashes: Sequence[str]) -> Mapping[str, Row]:
        rows = await self._db.fetch_all("api_key_find_by_hashes", key_hashes=key_hashes)
        return {row["key_hash"]: row for row in rows}

    async def _write(self, statement: str, api_key_id: UUID, **values: object) -> None:
        key_id = checks.identifier("id", api_key_id)
        with self._db.changing(NOUN) as changed:
            async with self._db.transaction() as tx:
                row = await tx.fetch_one(statement, id=key_id, **values)
                changed.add(_found(row)["key_hash"])

    async def _write_metadata(self, statement: str, api_key_id: UUID, **values: object) -> None:
        key_id = checks.identifier("id", api_key_id)
        with self._db.changing(NOUN) as changed:
            async with self._db.transaction() as tx:
                row = await tx.fetch_one("api_key_touch", id=key_id, now=self._clock.now())
                changed.add(_found(row)["key_hash"])
                await tx.execute(statement, api_key_id=key_id, **values)


def _hash_of(secret: object) -> str:
    if not isinstance(secret, str):
        raise InvalidValueError(f"secret: must be text, not {type(secret).__name__}")
    try:
        return hash_secret(secret)
    except UnicodeEncodeError:
        raise APIKeyNotFoundError("no such API key") from None


def _found(row: Row | None) -> Row:
    if row is None:
        raise APIKeyNotFoundError("no such API key")
    return row


def _settings(key: APIKey) -> dict[str, object]:
    return {
        "name": key.name,
        "key_hash": key.key_hash,
        "allowed_models": json_text(key.allowed_models),
        "rate_limit_per_minute": key.rate_limit_per_minute,
        "monthly_budget_usd": key.monthly_budget_usd,
        "enabled": key.enabled,
        "expires_at": key.expires_at,
    }


def _metadata_rows(key: APIKey) -> list[dict[str, object]]:
    return [
        {"api_key_id": key.id, "type": kind, "key": name, "value": value}
        for kind, pairs in key.metadata.items()
        for name, value in pairs.items()
    ]
