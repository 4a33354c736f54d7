"""The names that acceptance checks and callers rely on; a change here is a change of the public face."""

import inspect
from types import ModuleType

import pytest

import gatewaydb
from gatewaydb import Database, Model, errors
from gatewaydb.database import DatabaseTransaction
from gatewaydb.repositories import Repositories

FACE = {
    "api_keys": {
        "get_by_hash": "key_hash",
        "get_by_id": "api_key_id",
        "create": "api_key",
        "update": "api_key",
        "delete": "api_key_id",
        "list": "limit=50, offset=0, after=None",
        "set_metadata": "api_key_id, type, key, value",
        "delete_metadata": "api_key_id, type, key",
        "invalidate_cache": "key_hash",
        "issue": "name, *, allowed_models=(), rate_limit_per_minute=None, monthly_budget_usd=None, expires_at=None, "
        "metadata={}",
        "authenticate": "secret",
    },
    "models": {
        "get_by_name": "name",
        "get_by_id": "model_id",
        "get_by_provider": "provider, limit=50, offset=0, after=None",
        "search": "query, limit=10",
        "create": "model",
        "update": "model",
        "delete": "model_id",
        "list": "limit=50, offset=0, after=None",
        "invalidate_cache": "name",
    },
    "model_aliases": {
        "create": "alias",
        "get_by_alias": "alias",
        "list": "limit=50, offset=0, after=None",
        "list_enabled": "limit=50, offset=0, after=None",
        "update": "alias",
        "delete": "alias_id",
        "set_tag": "alias_id, key, value",
        "delete_tag": "alias_id, key",
    },
    "providers": {
        "create": "provider",
        "get_by_id": "provider_id",
        "get_by_name": "name",
        "list": "limit=50, offset=0, after=None",
        "list_enabled": "limit=50, offset=0, after=None",
        "update": "provider",
        "delete": "provider_id",
    },
    "usage": {
        "create": "record",
        "create_many": "records",
        "get_by_api_key": "api_key_id, start, end, limit=50, offset=0, after=None",
        "get_by_model": "model_id, start, end, limit=50, offset=0, after=None",
        "stream": "start, end, api_key_id=None, model_id=None",
        "get_total_cost_by_api_key": "api_key_id, start, end",
        "get_total_tokens_by_api_key": "api_key_id, start, end",
    },
    "daily_summaries": {
        "report": "by, start, end, *, api_key_id=None, model=None, tag_type='tag', limit=None",
        "series": "by, start, end, *, api_key_id=None, model=None, tag_type='tag', limit=8",
        "get_by_api_key": "api_key_id, start, end",
    },
    "monthly_summaries": {
        "refresh_summary": "api_key_id, year, month",
        "get_by_api_key_and_month": "api_key_id, year, month",
        "get_by_api_key": "api_key_id, limit=50, offset=0",
    },
}
STATS = (
    "max_open_connections open_connections in_use idle wait_count wait_duration max_idle_closed max_lifetime_closed "
    "replica_fallbacks api_key_cache model_cache change_feed recorders"
)
CACHE_STATS = """
    size capacity ttl hits misses hit_rate evictions expirations
    absent_size absent_hits stale_served loads_in_flight coalesced
"""


def _signature(function: object) -> str:
    assert callable(function)
    parameters = [
        each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters))[1:-1]


@pytest.fixture
def db() -> Repositories:
    return Database("sqlite://")


@pytest.mark.parametrize("noun", FACE)
def test_every_repository_has_the_methods_of_the_design(db: Repositories, noun: str) -> None:
    repository = getattr(db, noun)
    assert {name: _signature(getattr(repository, name)) for name in FACE[noun]} == FACE[noun]


@pytest.mark.parametrize("noun", FACE)
def test_every_public_method_says_what_it_does(db: Repositories, noun: str) -> None:
    repository = getattr(db, noun)
    public = [name for name in dir(repository) if not name.startswith("_")]
    assert [name for name in public if not getattr(repository, name).__doc__] == []


def test_a_database_and_a_transaction_have_the_same_repositories() -> None:
    for kind in (Database, DatabaseTransaction):
        assert issubclass(kind, Repositories)
    for name in ("open", "close", "health", "stats", "cleanup_expired_cache_entries", "transaction", "migrate"):
        assert callable(getattr(Database, name))
    for name in ("execute", "fetch", "transaction"):
        assert callable(getattr(DatabaseTransaction, name))


def test_calculate_cost_is_the_guide_s() -> None:
    assert _signature(Model.calculate_cost) == (
        "self, input_tokens, output_tokens, cache_read_tokens=0, cache_write_tokens=0, reasoning_tokens=0, "
        "audio_input_tokens=0, audio_output_tokens=0, images=0"
    )


def test_statistics_have_the_names_of_the_design() -> None:
    stats = Database("sqlite://").stats()
    assert set(stats.__struct_fields__) == set(STATS.split())
    assert set(stats.api_key_cache.__struct_fields__) == set(CACHE_STATS.split())


def test_every_public_name_is_documented_and_nothing_else_is_public() -> None:
    for name in gatewaydb.__all__:
        assert getattr(gatewaydb, name).__doc__, name
    public = {name for name, value in vars(gatewaydb).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert public == set(gatewaydb.__all__)


def test_every_error_is_public_and_has_its_place_in_the_tree() -> None:
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert defined <= set(gatewaydb.__all__)
    assert all(issubclass(getattr(errors, name), errors.GatewayDBError) for name in defined)
    assert all(name in (errors.__doc__ or "") for name in defined)


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (errors.InvalidValueError, ValueError),
        (errors.QueryTimeoutError, TimeoutError),
        (errors.DatabaseUnavailableError, ConnectionError),
        (errors.APIKeyNotFoundError, errors.NotFoundError),
        (errors.ModelNotFoundError, errors.NotFoundError),
        (errors.ModelAliasNotFoundError, errors.NotFoundError),
        (errors.ProviderNotFoundError, errors.NotFoundError),
        (errors.UsageRecordNotFoundError, errors.NotFoundError),
        (errors.MonthlyUsageSummaryNotFoundError, errors.NotFoundError),
    ],
)
def test_errors_are_what_python_s_users_expect_them_to_be(error: type, bases: type) -> None:
    assert issubclass(error, bases)
    assert not issubclass(errors.DatabaseUnavailableError, errors.NotFoundError)
