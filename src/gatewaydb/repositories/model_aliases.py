"""Model aliases. A change of one is a change of the model that it names, and of what is cached under the alias."""

from collections.abc import Sequence
from uuid import UUID

from msgspec.structs import replace

from gatewaydb.engines import Row
from gatewaydb.entities import ModelAlias, checks
from gatewaydb.entities.model_aliases import checked_tag
from gatewaydb.errors import ModelAliasNotFoundError
from gatewaydb.repositories import models
from gatewaydb.repositories.base import Repository, last_of_page, page
from gatewaydb.repositories.rows import model_alias_from


class ModelAliasRepository(Repository):
    """`db.model_aliases`."""

    async def get_by_alias(self, alias: str) -> ModelAlias:
        """The alias of this name, enabled or not. Raises ModelAliasNotFoundError."""
        row = await self._db.fetch_one("model_alias_find_by_alias", alias=checks.text("alias", alias))
        return model_alias_from(_found(row))

    async def get_by_id(self, alias_id: UUID) -> ModelAlias:
        """The alias with this id. Raises ModelAliasNotFoundError."""
        row = await self._db.fetch_one("model_alias_find_by_id", id=checks.identifier("id", alias_id))
        return model_alias_from(_found(row))

    async def list(
        self, limit: int = 50, offset: int = 0, after: ModelAlias | UUID | None = None
    ) -> Sequence[ModelAlias]:
        """One page by alias; `after` is the last one of the page before, or its id."""
        return await self._list("model_alias_list", limit, offset, after)

    async def list_enabled(
        self, limit: int = 50, offset: int = 0, after: ModelAlias | UUID | None = None
    ) -> Sequence[ModelAlias]:
        """As `list`, only those that are enabled."""
        return await self._list("model_alias_list_enabled", limit, offset, after)

    async def create(self, alias: ModelAlias) -> ModelAlias:
        """Stores a new alias with its tags; gives it as stored.

        Raises AlreadyExistsError, and InvalidValueError where the model does not exist.
        """
        new = alias.checked()
        now = self._db.clock.now()
        with self._db.changing(models.NOUN) as changed:
            changed.update(_keys(new.alias, new.model_id))
            async with self._db.transaction() as tx:
                await tx.execute("model_alias_insert", id=new.id, now=now, **_columns(new))
                rows = [{"model_alias_id": new.id, "key": key, "value": value} for key, value in new.tags.items()]
                await tx.execute_many("model_alias_tag_set", rows)
        return replace(new, created_at=now, updated_at=now)

    async def update(self, alias: ModelAlias) -> ModelAlias:
        """Stores everything but the tags, which `set_tag` changes; gives the alias as it is now.

        Raises ModelAliasNotFoundError, AlreadyExistsError, InvalidValueError.
        """
        new = alias.checked()
        with self._db.changing(models.NOUN) as changed:
            async with self._db.transaction() as tx:
                old = _found(await tx.fetch_one("model_alias_lock", id=new.id))
                await tx.execute("model_alias_update", id=new.id, now=self._db.clock.now(), **_columns(new))
                row = await tx.fetch_one("model_alias_find_by_id", id=new.id)
            changed.update(_keys(old["alias"], old["model_id"]), _keys(new.alias, new.model_id))
        return model_alias_from(_found(row))

    async def delete(self, alias_id: UUID) -> None:
        """Deletes the alias and its tags. Raises ModelAliasNotFoundError."""
        with self._db.changing(models.NOUN) as changed:
            async with self._db.transaction() as tx:
                row = _found(await tx.fetch_one("model_alias_delete", id=checks.identifier("id", alias_id)))
            changed.update(_keys(row["alias"], row["model_id"]))

    async def set_tag(self, alias_id: UUID, key: str, value: str) -> None:
        """Sets one tag. Raises ModelAliasNotFoundError."""
        name, text = checked_tag(key, value)
        await self._write_tag("model_alias_tag_set", alias_id, key=name, value=text)

    async def delete_tag(self, alias_id: UUID, key: str) -> None:
        """Removes one tag, if it is there. Raises ModelAliasNotFoundError."""
        name, _ = checked_tag(key, "")
        await self._write_tag("model_alias_tag_delete", alias_id, key=name)

    async def _list(
        self, statement: str, limit: int, offset: int, after: ModelAlias | UUID | None
    ) -> Sequence[ModelAlias]:
        bounds = page(limit, offset)
        cursor = await last_of_page(after, ModelAlias, self.get_by_id)
        rows = await self._db.fetch_all(statement, after="" if cursor is None else cursor.alias, **bounds)
        return [model_alias_from(row) for row in rows]

    async def _write_tag(self, statement: str, alias_id: UUID, **values: object) -> None:
        key = checks.identifier("id", alias_id)
        async with self._db.transaction() as tx:
            _found(await tx.fetch_one("model_alias_touch", id=key, now=self._db.clock.now()))
            await tx.execute(statement, model_alias_id=key, **values)


def _keys(alias: str, model_id: UUID) -> set[str]:
    return {alias, str(model_id)}


def _columns(alias: ModelAlias) -> dict[str, object]:
    return {"alias": alias.alias, "model_id": alias.model_id, "enabled": alias.enabled}


def _found(row: Row | None) -> Row:
    if row is None:
        raise ModelAliasNotFoundError("no such model alias")
    return row
