import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewaydb import APIKey, InvalidValueError, Model, ModelAlias, MonthlyUsageSummary, Provider, UsageRecord
from gatewaydb.entities import checks
from gatewaydb.entities.base import new_id
from gatewaydb.entities.frozen import FrozenDict, frozen

NOW = datetime(2026, 1, 15, tzinfo=UTC)
ENTITIES = [APIKey, Model, ModelAlias, Provider, UsageRecord, MonthlyUsageSummary]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # What no engine stores as text: NUL and half surrogate pairs.
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


def _key(**fields: object) -> APIKey:
    return APIKey(name="a", key_hash="b", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("expires_at", "is_expired"),
    [
        (None, False),
        (NOW - timedelta(microseconds=1), True),
        (NOW, True),
        (NOW + timedelta(microseconds=1), False),
        (NOW.astimezone(timezone(timedelta(hours=9))), True),
    ],
)
def test_a_key_expires_at_its_moment(expires_at: datetime | None, is_expired: bool) -> None:
    key = _key(expires_at=expires_at)
    assert key.is_expired(NOW) == is_expired
    assert key.is_valid(NOW) == (not is_expired)
    assert not replace(key, enabled=False).is_valid(NOW)


def test_without_a_moment_the_system_s_clock_decides() -> None:
    assert _key(expires_at=datetime(2020, 1, 1, tzinfo=UTC)).is_expired()
    assert _key(expires_at=datetime(9999, 1, 1, tzinfo=UTC)).is_valid()


@pytest.mark.parametrize(
    ("allowed", "model", "is_allowed"),
    [
        ((), "anything", True),
        (("gpt-4",), "gpt-4", True),
        (("gpt-4",), "gpt-4o", False),
        (("gpt-4",), "GPT-4", False),
        (("gpt-4", "o3"), "o3", True),
        (("openai/*",), "openai/gpt-4", True),
        (("openai/*",), "openai/", True),
        (("openai/*",), "openai", False),
        (("openai/*",), "azure/openai/gpt-4", False),
        (("*",), "anything at all\n", True),
        (("*-4",), "gpt-4", True),
        (("g*4*o",), "gpt-4-turbo", True),
        (("gpt.4",), "gpt-4", False),
        (("gpt-[4]*",), "gpt-4", False),
        (("gpt-?",), "gpt-4", False),
        (("a*b",), "a*b", True),
    ],
)
def test_a_key_allows_names_and_patterns(allowed: tuple[str, ...], model: str, is_allowed: bool) -> None:
    assert _key(allowed_models=allowed).allows_model(model) == is_allowed


def test_a_key_allows_a_model_under_its_name_and_its_aliases() -> None:
    model = Model(name="gpt-4", aliases=("fast", "team/best"))
    assert _key(allowed_models=["gpt-4"]).allows_model(model)
    assert _key(allowed_models=["fast"]).allows_model(model)
    assert _key(allowed_models=["team/*"]).allows_model(model)
    assert not _key(allowed_models=["slow"]).allows_model(model)


@pytest.mark.parametrize("kind", ENTITIES)
def test_every_entity_is_immutable(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


def test_what_is_checked_holds_nothing_that_can_change() -> None:
    tags = {"tag": {"a": "b"}}
    key = _key(allowed_models=["x"], metadata=tags).checked()
    tags["tag"]["a"] = "changed"
    assert key.metadata == {"tag": {"a": "b"}}
    assert key.allowed_models == ("x",)
    nested = UsageRecord(api_key_id=new_id(), request_metadata={"a": [{"b": [1]}]}).checked().request_metadata
    assert nested == {"a": ({"b": (1,)},)}
    for mapping in (key.metadata, key.metadata["tag"], nested, nested["a"][0]):
        with pytest.raises(TypeError, match="immutable"):
            mapping["a"] = "changed"  # type: ignore[index]


def test_ids_are_version_7_and_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert all(type(each) is UUID and each.version == 7 for each in ids)


def test_a_record_s_id_and_moment_are_fixed_when_it_is_made() -> None:
    record = UsageRecord(api_key_id=new_id())
    assert record.checked() == replace(record, total_tokens=0)
    assert (datetime.now(UTC) - record.request_timestamp) < timedelta(minutes=1)


def test_checking_twice_changes_nothing() -> None:
    key = _key(monthly_budget_usd=Decimal("1.0000000000005"), expires_at=NOW, metadata={"a": {"b": "c"}}).checked()
    assert key.checked() == key


@given(JSON)
def test_frozen_json_is_equal_hashable_and_encoded_alike(value: object) -> None:
    wrapped = {"value": value}
    immutable = checks.json_object("metadata", wrapped)
    hash(immutable)
    assert msgspec.json.decode(msgspec.json.encode(immutable)) == msgspec.json.decode(msgspec.json.encode(wrapped))
    assert frozen(msgspec.json.decode(msgspec.json.encode(immutable))) == immutable


def test_a_frozen_dict_may_be_copied_and_pickled_and_never_changed() -> None:
    value = frozen({"a": {"b": 1}})
    assert copy.deepcopy(value) is copy.copy(value) is value
    assert pickle.loads(pickle.dumps(value)) == value
    assert isinstance(pickle.loads(pickle.dumps(value)), FrozenDict)
    for method in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
        with pytest.raises(TypeError, match="immutable"):
            getattr(value, method)("a", 1)
    assert value == {"a": {"b": 1}}


@given(st.decimals(0, 9_000_000, allow_nan=False, allow_infinity=False))
def test_money_is_rounded_to_the_nearest_picodollar(amount: Decimal) -> None:
    stored = checks.money("cost_usd", amount)
    assert abs(stored - amount) <= Decimal("5e-13")
    assert stored.as_tuple().exponent == -12
    assert checks.money("cost_usd", stored) == stored


@given(st.floats())
def test_no_float_is_money(amount: float) -> None:
    with pytest.raises(InvalidValueError):
        checks.money("cost_usd", amount)


@given(st.datetimes(timezones=st.timezones()))
def test_an_instant_is_the_same_moment_in_utc(moment: datetime) -> None:
    try:
        stored = checks.instant("at", moment)
    except InvalidValueError:
        assert moment.year in (1, 9999)
    else:
        assert stored.timestamp() == moment.timestamp()
        assert stored.tzinfo is UTC
