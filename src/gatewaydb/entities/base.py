"""What all entities share: a frozen value with a UUIDv7 of its own."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A UUIDv7: ids sort by the time they were made."""
    return uuid7()


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


class Entity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An immutable value; `msgspec.structs.replace(entity, field=...)` makes a changed one.

    `gc=False` is safe because what an entity holds is immutable and cannot point back at it; it makes a large cache
    invisible to the garbage collector.
    """

    id: UUID = msgspec.field(default_factory=new_id)
    created_at: datetime | None = None
    updated_at: datetime | None = None
