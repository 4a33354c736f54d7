"""What repositories share."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar
from uuid import UUID

from gatewaydb.cache import Cache
from gatewaydb.engines import Executor
from gatewaydb.entities import checks

E = TypeVar("E")

FIRST_ID = UUID(int=0)


class Done:
    """Something that is done already. Awaiting it is allowed, so that a caller may treat all methods alike."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


DONE = Done()


class Repository:
    """The statements of one noun on an engine or in a transaction."""

    def __init__(self, db: Executor) -> None:
        self._db = db


async def last_of_page(after: E | UUID | None, kind: type[E], get_by_id: Callable[[UUID], Awaitable[E]]) -> E | None:
    """The entity that `after` is or names; None before the first page. Raises InvalidValueError, NotFoundError."""
    if after is None or isinstance(after, kind):
        return after
    return await get_by_id(checks.identifier("after", after))


def room_for(cache: Cache[Any, Any], limit: int | None) -> int:
    """How many entries a cache may be warmed with. Raises InvalidValueError."""
    return cache.room if limit is None else min(cache.room, checks.count("limit", limit))


def page(limit: int, offset: int, **cursor: object) -> dict[str, object]:
    """The parameters of one page of a list. Raises InvalidValueError."""
    rows, skipped = checks.page(limit, offset)
    return {"limit": rows, "offset": skipped, **cursor}
