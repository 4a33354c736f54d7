"""Bad input of every kind is an InvalidValueError that names the field, before an engine is reached.

The databases here are not open: whatever got as far as the engine would be a DatabaseUnavailableError.
"""

import math
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from gatewaydb import (
    APIKey,
    Database,
    DatabaseUnavailableError,
    InvalidValueError,
    Model,
    ModelAlias,
    Provider,
    UsageRecord,
)
from gatewaydb.config import METADATA_MAX_BYTES
from gatewaydb.entities.base import new_id
from tests.conftest import ENCRYPTION_KEY

Call = Callable[[Database], Awaitable[object]]

ID = new_id()
NOW = datetime(2026, 1, 15, tzinfo=UTC)
NAIVE = datetime(2026, 1, 15)  # noqa: DTZ001
BEFORE_YEAR_1 = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))

TEXTS = ["", "   ", "x" * 300, "NUL\0", "half a pair \ud800", 7, b"bytes", None, ["list"]]
TEXTS_OR_NONE = [text for text in TEXTS if text is not None]
COUNTS = [-1, True, 1.0, math.nan, "1", 2**63, 10**30, None, Decimal(1)]
COUNTS_OR_NONE = [count for count in COUNTS if count is not None]
MONEY = [0.1, math.nan, math.inf, -1, "-0.01", "NaN", "inf", "ten", "1_0x", True, Decimal("NaN"), Decimal("sNaN")]
MONEY += [Decimal("-Infinity"), Decimal("1e30"), 10**30, [1]]
TIMES = [NAIVE, NAIVE.date(), "2026-01-15T00:00:00Z", 0, BEFORE_YEAR_1]
IDS = ["", "no-uuid", 7, b"x" * 16, None, "\0"]
BOOLEANS = [1, 0, "true", None]
CYCLE: dict[str, Any] = {}
CYCLE["itself"] = CYCLE
JSON = [
    *("text", 7, ["list"], {1: "a"}, {"a": {2: "b"}}, {"a": math.nan}, {"a": [math.inf]}, {"a": {"b": object()}}),
    *({"a": Decimal(1)}, {"a": b"x"}, {"a": {1, 2}}, {"a": NOW}, {"NUL\0": 1}, {"a": "NUL\0"}, {"\ud800": 1}),
    *({"a": "\ud800"}, {"a": "x" * METADATA_MAX_BYTES}, CYCLE),
]
NAMES = ["gpt-4", 7, [7], [None], [""], ["x" * 300], ["x\0"], ["x"] * 1001]
STRANGE_METADATA = [*JSON, {"tag": "text"}, {"tag": {"a": 1}}, {"tag": {"a": None}}, {"tag": {"": "x"}}]
STRANGE_METADATA += [{"": {"a": "b"}}, {"tag": {"a": {"b": "c"}}}, {"x" * 300: {"a": "b"}}, {"tag": {"x" * 300: "a"}}]

FIELDS: dict[Any, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    APIKey: (
        {"name": "a", "key_hash": "b"},
        {
            "id": IDS,
            "name": TEXTS,
            "key_hash": TEXTS,
            "allowed_models": NAMES,
            "rate_limit_per_minute": COUNTS_OR_NONE,
            "monthly_budget_usd": MONEY,
            "enabled": BOOLEANS,
            "expires_at": TIMES,
            "metadata": STRANGE_METADATA,
        },
    ),
    Model: (
        {"name": "a"},
        {
            "id": IDS,
            "name": TEXTS,
            "litellm_provider": TEXTS_OR_NONE,
            "provider_id": IDS[:-2],
            "mode": TEXTS_OR_NONE,
            "max_tokens": COUNTS_OR_NONE,
            "max_input_tokens": COUNTS_OR_NONE,
            "max_output_tokens": COUNTS_OR_NONE,
            "supports_vision": BOOLEANS,
            "deprecation_date": TEXTS_OR_NONE,
            "source": ["", "x" * 2001, "\0", 7],
            "origin": ["", "upstream", 7, None],
            "vanished_at": TIMES,
            "metadata": JSON,
        },
    ),
    ModelAlias: (
        {"alias": "a", "model_id": ID},
        {
            "id": IDS,
            "alias": TEXTS,
            "model_id": IDS,
            "enabled": BOOLEANS,
            "tags": [*JSON, {"a": 1}, {"a": None}, {"": "x"}, {"x" * 300: "a"}, {"a": {"b": "c"}}],
        },
    ),
    Provider: (
        {"name": "a"},
        {
            "id": IDS,
            "name": TEXTS,
            "api_base": ["", "x" * 2001, "\0", "\ud800", 7],
            "enabled": BOOLEANS,
            "metadata": JSON,
            "credentials": JSON,
        },
    ),
    UsageRecord: (
        {"api_key_id": ID},
        {
            "id": IDS,
            "api_key_id": IDS,
            "model_id": IDS[:-2],
            "provider_id": IDS[:-2],
            "request_timestamp": [*TIMES, None],
            "prompt_tokens": COUNTS,
            "completion_tokens": COUNTS,
            "total_tokens": COUNTS_OR_NONE,
            "cached_tokens": COUNTS,
            "reasoning_tokens": COUNTS,
            "cost_usd": MONEY,
            "request_id": TEXTS_OR_NONE,
            "model_name": TEXTS_OR_NONE,
            "endpoint": TEXTS_OR_NONE,
            "response_time_ms": [*COUNTS_OR_NONE, 2**31],
            "status_code": [*COUNTS_OR_NONE, 1000],
            "error_message": ["", "x" * 10_001, "\0", "\ud800", 7],
            "request_metadata": JSON,
            "response_metadata": JSON,
            "price_version": [*COUNTS_OR_NONE, 2**31],
            "billable": [{}, 7, "usage"],
            "pricing_context": JSON,
        },
    ),
}
REPOSITORY = {
    APIKey: "api_keys",
    Model: "models",
    ModelAlias: "model_aliases",
    Provider: "providers",
    UsageRecord: "usage",
}


@pytest.fixture(params=["sqlite:///never-made.db", "postgresql://nobody@127.0.0.1:1/none"], ids=["sqlite", "postgres"])
def closed(request: pytest.FixtureRequest) -> Database:
    return Database(f"{request.param}?encryption_keys={ENCRYPTION_KEY}")


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, (_, fields) in FIELDS.items() for field in fields])
async def test_no_entity_is_written_with_a_bad_field(closed: Database, kind: Any, field: str) -> None:
    good, fields = FIELDS[kind]
    repository = getattr(closed, REPOSITORY[kind])
    for value in fields[field]:
        entity = kind(**{**good, field: value})
        for write in (repository.create, getattr(repository, "update", repository.create)):
            with pytest.raises(InvalidValueError, match=field.removesuffix("s")) as caught:
                await write(entity)
            assert len(str(caught.value)) < 200


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
async def test_a_good_entity_does_get_to_the_engine(closed: Database, kind: Any) -> None:
    with pytest.raises(DatabaseUnavailableError):
        await getattr(closed, REPOSITORY[kind]).create(kind(**FIELDS[kind][0]))


async def test_every_field_of_a_caller_s_is_among_these() -> None:
    for kind, (_, fields) in FIELDS.items():
        given = {name for name in kind.__struct_fields__ if not name.startswith("supports_")}
        by_the_database = {"created_at", "updated_at", "has_credentials", "aliases", "prices"}
        assert given - by_the_database == fields.keys() - {"supports_vision"}


@pytest.mark.parametrize("price", [0.00003, "-1", "NaN", "many", True, [1]])
def test_a_model_refuses_a_price_that_is_none(price: object) -> None:
    with pytest.raises(InvalidValueError, match="input_cost_per_token"):
        Model(name="a", prices={"input_cost_per_token": price})


CALLS: dict[str, tuple[list[Any], Callable[[Database, Any], Awaitable[object]]]] = {
    "key by hash": (TEXTS, lambda db, bad: db.api_keys.get_by_hash(bad)),
    "key by id": (IDS, lambda db, bad: db.api_keys.get_by_id(bad)),
    "key by name": (TEXTS, lambda db, bad: db.api_keys.get_by_name(bad)),
    "secret": ([7, None, b"bytes", ["list"]], lambda db, bad: db.api_keys.authenticate(bad)),
    "key deleted": (IDS, lambda db, bad: db.api_keys.delete(bad)),
    "key switched": (BOOLEANS, lambda db, bad: db.api_keys.set_enabled(ID, bad)),
    "key issued": (TEXTS, lambda db, bad: db.api_keys.issue(bad)),
    "metadata type": (TEXTS, lambda db, bad: db.api_keys.set_metadata(ID, bad, "a", "b")),
    "metadata key": (TEXTS, lambda db, bad: db.api_keys.set_metadata(ID, "tag", bad, "b")),
    "metadata value": ([*TEXTS[4:], "x" * 10_001], lambda db, bad: db.api_keys.set_metadata(ID, "tag", "a", bad)),
    "metadata removed": (TEXTS, lambda db, bad: db.api_keys.delete_metadata(ID, "tag", bad)),
    "keys after": (["x", 7], lambda db, bad: db.api_keys.list(after=bad)),
    "model by name": (TEXTS, lambda db, bad: db.models.get_by_name(bad)),
    "model by id": (IDS, lambda db, bad: db.models.get_by_id(bad)),
    "model search": (TEXTS, lambda db, bad: db.models.search(bad)),
    "model search limit": ([*COUNTS, 0, 1001], lambda db, bad: db.models.search("gpt", bad)),
    "models of provider": (TEXTS, lambda db, bad: db.models.get_by_provider(bad)),
    "model deleted": (IDS, lambda db, bad: db.models.delete(bad)),
    "alias": (TEXTS, lambda db, bad: db.model_aliases.get_by_alias(bad)),
    "alias tag": (TEXTS, lambda db, bad: db.model_aliases.set_tag(ID, bad, "b")),
    "alias tag value": (TEXTS[4:], lambda db, bad: db.model_aliases.set_tag(ID, "a", bad)),
    "alias tag removed": (TEXTS, lambda db, bad: db.model_aliases.delete_tag(ID, bad)),
    "provider by id": (IDS, lambda db, bad: db.providers.get_by_id(bad)),
    "provider by name": (TEXTS, lambda db, bad: db.providers.get_by_name(bad)),
    "credentials": (JSON, lambda db, bad: db.providers.set_credentials(ID, bad)),
    "record by id": (IDS, lambda db, bad: db.usage.get_by_id(bad)),
    "start": ([*TIMES, None], lambda db, bad: db.usage.get_by_api_key(ID, bad, NOW)),
    "end": ([*TIMES, None], lambda db, bad: db.usage.get_by_model(ID, NOW, bad)),
    "start after end": ([NOW], lambda db, bad: db.usage.get_total_cost_by_api_key(ID, bad, bad - timedelta(1))),
    "tokens of": (IDS, lambda db, bad: db.usage.get_total_tokens_by_api_key(bad, NOW, NOW)),
    "year": ([*COUNTS, 0, 9999], lambda db, bad: db.monthly_summaries.refresh_summary(ID, bad, 1)),
    "month": ([*COUNTS, 0, 13], lambda db, bad: db.monthly_summaries.get_by_api_key_and_month(ID, 2026, bad)),
    "summaries of": (IDS, lambda db, bad: db.monthly_summaries.get_by_api_key(bad)),
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_call_takes_a_bad_argument(closed: Database, call: str) -> None:
    values, run = CALLS[call]
    for value in values:
        with pytest.raises(InvalidValueError):
            await run(closed, value)


LISTS: dict[str, Callable[..., Awaitable[object]]] = {
    "api_keys": lambda db, **page: db.api_keys.list(**page),
    "models": lambda db, **page: db.models.list(**page),
    "models of provider": lambda db, **page: db.models.get_by_provider("openai", **page),
    "model_aliases": lambda db, **page: db.model_aliases.list(**page),
    "enabled model_aliases": lambda db, **page: db.model_aliases.list_enabled(**page),
    "providers": lambda db, **page: db.providers.list(**page),
    "enabled providers": lambda db, **page: db.providers.list_enabled(**page),
    "usage of key": lambda db, **page: db.usage.get_by_api_key(ID, NOW, NOW, **page),
    "usage of model": lambda db, **page: db.usage.get_by_model(ID, NOW, NOW, **page),
    "monthly_summaries": lambda db, **page: db.monthly_summaries.get_by_api_key(ID, **page),
}


@pytest.mark.parametrize("noun", LISTS)
async def test_no_page_has_bad_bounds(closed: Database, noun: str) -> None:
    for limit in [*COUNTS, 0, 10_001]:
        with pytest.raises(InvalidValueError, match="limit"):
            await LISTS[noun](closed, limit=limit)
    for offset in COUNTS:
        with pytest.raises(InvalidValueError, match="offset"):
            await LISTS[noun](closed, offset=offset)


@pytest.mark.parametrize("noun", sorted(set(LISTS) - {"monthly_summaries"}))
async def test_no_page_comes_after_nonsense(closed: Database, noun: str) -> None:
    for after in ["x", 7, b"x" * 16]:
        with pytest.raises(InvalidValueError, match="after"):
            await LISTS[noun](closed, after=after)


async def test_one_bad_record_and_none_of_the_batch_is_written(db: Database) -> None:
    good = [UsageRecord(api_key_id=ID) for _ in range(3)]
    with pytest.raises(InvalidValueError, match="prompt_tokens"):
        await db.usage.create_many([*good, UsageRecord(api_key_id=ID, prompt_tokens=-1)])
    with pytest.raises(InvalidValueError, match="name"):
        await db.models.create_many([Model(name="good"), Model(name="")])
    async with db.transaction() as tx:
        assert await tx.fetch("SELECT id FROM usage_records UNION ALL SELECT id FROM models") == []
