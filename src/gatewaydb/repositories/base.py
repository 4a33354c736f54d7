"""What repositories share."""

from uuid import UUID

from gatewaydb.engines import Executor
from gatewaydb.entities import checks

FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)


class Repository:
    """The statements of one noun on an engine or in a transaction."""

    def __init__(self, db: Executor) -> None:
        self._db = db


def page(limit: int, offset: int, **cursor: object) -> dict[str, object]:
    """The parameters of one page of a list. Raises InvalidValueError."""
    rows, skipped = checks.page(limit, offset)
    return {"limit": rows, "offset": skipped, **cursor}
