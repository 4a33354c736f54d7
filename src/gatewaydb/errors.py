"""Every error that gatewaydb raises on purpose.

    GatewayDBError
     ├─ NotFoundError
     │   ├─ APIKeyNotFoundError
     │   ├─ ModelNotFoundError
     │   ├─ ModelAliasNotFoundError
     │   ├─ ProviderNotFoundError
     │   ├─ UsageRecordNotFoundError
     │   └─ MonthlyUsageSummaryNotFoundError
     ├─ AlreadyExistsError
     ├─ StillReferencedError
     ├─ InvalidValueError            (also a ValueError)
     ├─ APIKeyDisabledError
     ├─ APIKeyExpiredError
     ├─ PriceNotFoundError
     ├─ CatalogUnavailableError      (also an OSError)
     ├─ UsageJournalError            (also an OSError)
     ├─ UsageBacklogFull
     ├─ ConfigurationError
     ├─ SchemaVersionError
     ├─ DatabaseUnavailableError     (also a ConnectionError)
     └─ QueryTimeoutError            (also a TimeoutError)

No message ever holds a secret, a key's hash or a password.
"""


class GatewayDBError(Exception):
    """The root: `except GatewayDBError` catches whatever this package raises on purpose."""


class NotFoundError(GatewayDBError):
    """What was asked for does not exist."""


class APIKeyNotFoundError(NotFoundError):
    """No API key has this id, hash or secret."""


class ModelNotFoundError(NotFoundError):
    """No model has this id, name or alias. `suggestions` holds the names that were probably meant."""

    def __init__(self, message: str, suggestions: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.suggestions = suggestions


class ModelAliasNotFoundError(NotFoundError):
    """No model alias has this id or name."""


class ProviderNotFoundError(NotFoundError):
    """No provider has this id or name."""


class UsageRecordNotFoundError(NotFoundError):
    """No usage record has this id."""


class MonthlyUsageSummaryNotFoundError(NotFoundError):
    """This API key has no usage in this month."""


class AlreadyExistsError(GatewayDBError):
    """A row with this unique value exists already."""


class StillReferencedError(GatewayDBError):
    """The row cannot be deleted: others refer to it."""


class InvalidValueError(GatewayDBError, ValueError):
    """A value that no engine would store as it is; the message names the field. Nothing was written."""


class APIKeyDisabledError(GatewayDBError):
    """The API key exists and was switched off."""


class APIKeyExpiredError(GatewayDBError):
    """The API key exists and its `expires_at` has passed."""


class PriceNotFoundError(GatewayDBError):
    """The model has no price for something that was used: unpriced, which is not the same as free."""


class CatalogUnavailableError(GatewayDBError, OSError):
    """The catalog's file or web page cannot be read; the message names it."""


class UsageJournalError(GatewayDBError, OSError):
    """A recorder's journal cannot be opened, or was not written: the record is not safe. The message names it."""


class UsageBacklogFull(GatewayDBError):  # noqa: N818 - the name says what the state is
    """The journal has reached its `max_bytes`, and nothing was recorded: the database has been away for too long."""


class ConfigurationError(GatewayDBError):
    """A setting is unknown or impossible; the message names it."""


class SchemaVersionError(GatewayDBError):
    """The database's schema is not the one this code was written for; the message says what to run."""


class DatabaseUnavailableError(GatewayDBError, ConnectionError):
    """The database cannot be reached, or broke the connection."""


class QueryTimeoutError(GatewayDBError, TimeoutError):
    """The database did not answer within `query_timeout`; the statement was cancelled there."""
