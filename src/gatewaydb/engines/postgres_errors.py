"""asyncpg's errors, said in our own words. Their DETAIL holds values, so none of it is passed on."""

import re
from collections.abc import Awaitable
from typing import TypeVar

import asyncpg

from gatewaydb.engines.changes import NotSent
from gatewaydb.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DatabaseUnavailableError,
    GatewayDBError,
    InvalidValueError,
    QueryTimeoutError,
    StillReferencedError,
)

T = TypeVar("T")

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises; TimeoutError is an OSError, too."""

_TIMEOUT = (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError)
_UNAVAILABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalClientError,
)
_INVALID = (asyncpg.DataError, asyncpg.exceptions.DataError)


class ReadOnlyServerError(NotSent, DatabaseUnavailableError):
    """The server takes no writes: it may have been the primary once. Nothing was written."""


def translated(error: BaseException) -> GatewayDBError:
    """The error to raise instead."""
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return _broken_constraint(error)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return ConfigurationError(f"PostgreSQL: {message(error)}")
    if isinstance(error, _TIMEOUT):
        return QueryTimeoutError("PostgreSQL did not answer within query_timeout; the statement was cancelled")
    return _kind(error)(f"PostgreSQL: {message(error)}")


def _kind(error: BaseException) -> type[GatewayDBError]:
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return ReadOnlyServerError
    if isinstance(error, _INVALID):
        return InvalidValueError
    return DatabaseUnavailableError if isinstance(error, _UNAVAILABLE) or _is_lost(error) else GatewayDBError


async def asked(answer: Awaitable[T]) -> T:
    """The driver's answer, or its error in our words."""
    try:
        return await answer
    except DRIVER_ERRORS as error:
        raise translated(error) from None
    except AttributeError as error:
        # asyncpg's own, when its connection is closed between two steps of one statement.
        if "NoneType" not in str(error):
            raise
        raise DatabaseUnavailableError("PostgreSQL: the connection was closed") from error


def _broken_constraint(error: asyncpg.IntegrityConstraintViolationError) -> GatewayDBError:
    detail = error.detail or ""
    if isinstance(error, asyncpg.UniqueViolationError):
        columns = re.search(r"Key \(([^)]*)\)", detail)
        what = columns[1].replace(", ", " and ") if columns else error.constraint_name
        return AlreadyExistsError(f"{error.table_name}: a row with this {what} exists already")
    if not isinstance(error, asyncpg.ForeignKeyViolationError):
        return InvalidValueError(f"PostgreSQL: {message(error)}")
    if "still referenced" in detail:
        return StillReferencedError("other rows refer to this one; delete or change them first")
    return InvalidValueError("refers to a row that does not exist")


def message(error: BaseException) -> str:
    """What the server says, without the DETAIL, which holds values."""
    # The text of a PostgresError would add its DETAIL.
    return (
        str(error.args[0] if error.args and isinstance(error, asyncpg.PostgresError) else error) or type(error).__name__
    )


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, asyncpg.InterfaceError) and any(
        word in str(error) for word in ("closed", "closing", "not initialized")
    )
