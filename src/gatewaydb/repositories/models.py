"""Models: what may be called and what it costs. Reads by name or alias go through the cache."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from gatewaydb.cache import CacheStats, Memory, ReadThrough, Uncached
from gatewaydb.config import SEARCH_MAX_ROWS
from gatewaydb.engines import Executor, Lookup, Row, Transaction
from gatewaydb.entities import Model, checks
from gatewaydb.entities.models import CAPABILITIES, LIMITS
from gatewaydb.errors import GatewayDBError, ModelNotFoundError
from gatewaydb.pricing import PriceComponent, components_of
from gatewaydb.repositories.base import DONE, Done, Repository, last_of_page, page, room_for
from gatewaydb.repositories.model_search import rank
from gatewaydb.repositories.price_components import change_prices, insert_prices
from gatewaydb.repositories.rows import json_text, model_from

NOUN = "models"
_FIELDS = (
    "name",
    "litellm_provider",
    "provider_id",
    "mode",
    *LIMITS,
    *CAPABILITIES,
    "deprecation_date",
    "source",
    "origin",
    "vanished_at",
)
_CANDIDATES = 200


class ModelRepository(Repository):
    """`db.models`."""

    def __init__(self, db: Executor, memory: Memory[str, Model], *, is_cached: bool) -> None:
        super().__init__(db)
        reader = db.coalesced(Lookup(self._find, self._find_many, lambda row, _: model_from(row)))
        self._reads = (ReadThrough if is_cached else Uncached)(memory, reader, "models")
        self._cache = memory.values
        self._is_suggesting = False

    async def get_by_name(self, name: str) -> Model:
        """The model of this name, else of this enabled alias, from the cache if it is there.

        Raises ModelNotFoundError, which says what was probably meant.
        """
        cache = self._cache
        try:
            entry = cache.live[name]
        except (KeyError, TypeError):
            return await self._miss(name)
        entry.used = cache.tick = cache.tick + 1
        return entry.value

    async def get_by_id(self, model_id: UUID) -> Model:
        """The model with this id, from the database. Raises ModelNotFoundError."""
        row = await self._db.fetch_one("model_find_by_id", id=checks.identifier("id", model_id))
        return model_from(_found(row))

    async def get_by_names(self, names: Iterable[str], *, for_update: bool = False) -> dict[str, Model]:
        """The models of these names (not aliases), by name, from the database; unknown names are left out.

        `for_update`, in a transaction, keeps others from changing them until it ends.
        """
        asked = [checks.text("name", name) for name in names]
        if for_update:
            await self._db.fetch_all("model_lock_by_names", names=asked)
        rows = await self._db.fetch_all("model_find_by_names", names=asked)
        return {row["name"]: model_from(row) for row in rows}

    async def list(self, limit: int = 50, offset: int = 0, after: Model | UUID | None = None) -> Sequence[Model]:
        """One page by name; `after` is the last model of the page before, or its id."""
        rows = await self._db.fetch_all("model_list", **page(limit, offset), after=await self._cursor(after))
        return [model_from(row) for row in rows]

    async def get_by_provider(
        self, provider: str | UUID, limit: int = 50, offset: int = 0, after: Model | UUID | None = None
    ) -> Sequence[Model]:
        """One page by name of the models of a LiteLLM provider ("openai") or, given an id, of a provider of ours."""
        asked = provider if isinstance(provider, UUID) else checks.text("provider", provider)
        cursor = page(limit, offset) | {"after": await self._cursor(after)}
        if isinstance(asked, UUID):
            rows = await self._db.fetch_all("model_list_by_provider_id", provider_id=asked, **cursor)
        else:
            rows = await self._db.fetch_all("model_list_by_provider", litellm_provider=asked, **cursor)
        return [model_from(row) for row in rows]

    async def search(self, query: str, limit: int = 10) -> Sequence[Model]:
        """The models whose names are nearest to the text, best first; typing errors are borne."""
        text = checks.text("query", query)
        names = await self._names_like(text, checks.count("limit", limit, 1, SEARCH_MAX_ROWS))
        found = await self.get_by_names(names)
        return [found[name] for name in names if name in found]

    async def create(self, model: Model) -> Model:
        """Stores a new model with its prices; gives it as stored. Raises AlreadyExistsError, InvalidValueError."""
        return (await self.create_many([model]))[0]

    async def create_many(self, models: Sequence[Model]) -> Sequence[Model]:
        """As `create`, all or none."""
        new = [_with_first_prices(model.checked()) for model in models]
        now = self._db.clock.now()
        with self._db.changing(NOUN) as changed:
            changed |= {model.name for model in new}
            async with self._db.transaction() as tx:
                rows = [{"id": model.id, "now": now, **_columns(model)} for model in new]
                await tx.execute_many("model_insert", rows)
                await insert_prices(tx, new)
        return [replace(model, aliases=(), created_at=now, updated_at=now) for model in new]

    async def update(self, model: Model) -> Model:
        """Stores everything but the aliases; gives the model as it is now.

        Prices that it no longer has end now and new ones begin now: what was costed before stays right.
        Raises ModelNotFoundError, AlreadyExistsError, InvalidValueError.
        """
        await self.update_many([model])
        return await self.get_by_id(model.id)

    async def update_many(self, models: Sequence[Model]) -> None:
        """As `update`, all or none. Raises ModelNotFoundError, AlreadyExistsError, InvalidValueError."""
        # In the order of their ids, so that two imports never wait for each other crosswise.
        changes = sorted((model.checked() for model in models), key=lambda model: model.id)
        now = self._db.clock.now()
        with self._db.changing(NOUN) as changed:
            async with self._db.transaction() as tx:
                rows = [{"id": model.id, "now": now, **_columns(model)} for model in changes]
                await tx.execute_many("model_update", rows)
                await _require_ids(tx, {model.id for model in changes})
                await change_prices(tx, changes, now)
            changed |= {key for model in changes for key in (model.name, str(model.id))}

    async def get_catalog_names(self) -> set[str]:
        """The names of all models that came from a catalog and have not vanished from it."""
        return {row["name"] for row in await self._db.fetch_all("model_list_names_of_catalog")}

    async def mark_vanished(self, names: Iterable[str]) -> None:
        """Sets `vanished_at` of models that the catalog no longer names; they go on working."""
        gone = sorted(checks.text("name", name) for name in names)
        with self._db.changing(NOUN) as changed:
            await self._db.execute("model_mark_vanished", names=gone, now=self._db.clock.now())
            changed.update(gone)

    async def set_prices(self, model_id: UUID, prices: Mapping[str, Any] | Iterable[PriceComponent]) -> Model:
        """Sets prices by hand, from now on; gives the model as it is now.

        They hold over the catalog's for the same thing and survive imports, until `reset_prices`. `prices` is what
        `Model(prices=...)` takes. Raises ModelNotFoundError, InvalidValueError.
        """

        def with_given(model: Model) -> Iterable[PriceComponent]:
            given = [replace(price, origin="operator") for price in _prices_for(model, prices)]
            subjects = {price.subject for price in given}
            kept = (p for p in model.price_sheet if p.origin == "catalog" or p.subject not in subjects)
            return *kept, *given

        return await self._change_prices(model_id, with_given)

    async def reset_prices(self, model_id: UUID) -> Model:
        """Ends what `set_prices` began: the catalog's prices hold again, from now on. Raises ModelNotFoundError."""
        return await self._change_prices(
            model_id, lambda model: (price for price in model.price_sheet if price.origin == "catalog")
        )

    async def delete(self, model_id: UUID) -> None:
        """Deletes the model with its prices and aliases; its usage stays recorded. Raises ModelNotFoundError."""
        key = checks.identifier("id", model_id)
        with self._db.changing(NOUN) as changed:
            async with self._db.transaction() as tx:
                row = _found(await tx.fetch_one("model_delete", id=key))
            changed |= {row["name"], str(key)}

    async def warm(self, limit: int | None = None) -> int:
        """Fills the room in the cache with the models that were used last, `limit` entries at most; gives their number.

        Each is loaded under its name and its enabled aliases.
        """
        rows = await self._db.fetch_all("warm_model_names", limit=room_for(self._cache, limit))
        return await self._reads.fill([row["asked"] for row in rows])

    def cache_stats(self) -> CacheStats:
        """What the cache holds, and what became of what it lacked."""
        return self._reads.stats()

    def invalidate_cache(self, name: str) -> Done:
        """Forgets the model of this name or alias under all its names, at once. For changes from outside only."""
        self.apply_change(frozenset([name]))
        return DONE

    def apply_change(self, keys: frozenset[str] | None) -> None:
        """Forgets every model that has one of the keys as its id, its name, or a name it is cached under."""
        if keys is None:
            self._reads.forget_all()
        else:
            self._reads.forget_where(lambda name, model: not keys.isdisjoint((name, model.name, str(model.id))))

    async def _change_prices(
        self, model_id: UUID, changed_prices: Callable[[Model], Iterable[PriceComponent]]
    ) -> Model:
        key, now = checks.identifier("id", model_id), self._db.clock.now()
        with self._db.changing(NOUN) as changed:
            async with self._db.transaction() as tx:
                name = _found(await tx.fetch_one("model_touch", id=key, now=now))["name"]
                model = model_from(_found(await tx.fetch_one("model_find_by_id", id=key)))
                await change_prices(tx, [replace(model, prices=changed_prices(model))], now)
                row = await tx.fetch_one("model_find_by_id", id=key)
            changed |= {name, str(key)}
        return model_from(_found(row))

    async def _miss(self, name: str) -> Model:
        asked = checks.text("name", name)
        self._db.require_here()
        model = await self._reads.fetch(asked)
        if model is None:
            raise await self._not_found(name)
        return model

    async def _find(self, name: str) -> Row | None:
        return await self._db.fetch_one("model_find_by_name", name=name)

    async def _find_many(self, names: Sequence[str]) -> Mapping[str, Row]:
        rows = await self._db.fetch_all("model_find_by_asked_names", names=names)
        return {row.pop("asked"): row for row in rows}

    async def _not_found(self, name: str) -> ModelNotFoundError:
        suggestions: tuple[str, ...] | None = self._reads.note_of(name)
        # Searching takes milliseconds: one at a time, and once while the name is remembered, so that made-up names
        # cannot keep the database busy.
        if suggestions is None and not self._is_suggesting:
            self._is_suggesting = True
            try:
                suggestions = tuple(await self._names_like(name, 3))
                self._reads.note(name, suggestions)
            except GatewayDBError:
                pass
            finally:
                self._is_suggesting = False
        suggestions = suggestions or ()
        hint = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else ""
        return ModelNotFoundError(f"no model or alias is named {name!r}{hint}", suggestions)

    async def _names_like(self, text: str, limit: int) -> Sequence[str]:
        rows = await self._db.fetch_all("model_search_names", text=text, limit=max(limit, _CANDIDATES))
        return rank(text, (row["name"] for row in rows), limit)

    async def _cursor(self, after: Model | UUID | None) -> str:
        last = await last_of_page(after, Model, self.get_by_id)
        return "" if last is None else last.name


def _prices_for(model: Model, prices: Mapping[str, Any] | Iterable[PriceComponent]) -> Iterable[PriceComponent]:
    if not isinstance(prices, Mapping):
        return prices
    # The provider says how a field is read (xAI's thresholds begin at their number); what it adds was not set by hand.
    entry = {**prices, "litellm_provider": model.litellm_provider}
    return [price for price in components_of(entry, numbers_as_text=True) if price.source_field]


def _with_first_prices(model: Model) -> Model:
    return replace(model, prices=[replace(price, version=1) for price in model.price_sheet])


async def _require_ids(tx: Transaction, ids: set[UUID]) -> None:
    found = {row["id"] for row in await tx.fetch_all("model_list_ids", ids=list(ids))}
    for missing in ids - found:
        raise ModelNotFoundError(f"no model has the id {missing}")


def _columns(model: Model) -> dict[str, object]:
    return {name: getattr(model, name) for name in _FIELDS} | {"metadata": json_text(model.metadata)}


def _found(row: Row | None) -> Row:
    if row is None:
        raise ModelNotFoundError("no model has this id")
    return row
