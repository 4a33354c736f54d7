"""What all adapters hold to: a valid usage or InvalidValueError, whatever a response says."""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing import BillableUsage, anthropic_message_of, billable_usage
from gatewaydb.pricing.adapters import ADAPTERS
from tests.unit.pricing.recorded import RESPONSES, recorded

NAMES = sorted(path.stem for path in RESPONSES.glob("*.json"))
PROVIDERS = sorted({name.partition("_")[0] for name in NAMES})
GARBAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**6) | st.just(2**63) | st.just(10**4000),
    st.floats(),
    st.decimals(),
    st.sampled_from(["", "5", "batch", "AUDIO", "1h"]),
    st.just([]) | st.just({}) | st.just([None]) | st.just([1]) | st.just({"a": 1}),
)


def body_of(name: str) -> dict[str, Any]:
    body = recorded(name)
    return anthropic_message_of(body) if isinstance(body, list) else body


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a body has values, at every depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in items for path in paths(item, (*at, key)))]


def with_value(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    inside = body.copy()
    inside[path[0]] = with_value(body[path[0]], path[1:], value)
    return inside


SPOTS = [(name, path) for name in NAMES for path in paths(body_of(name))]


@given(st.tuples(st.sampled_from(SPOTS), GARBAGE))
@example((("openai_chat", ("usage", "prompt_tokens")), Decimal("sNaN")))
@example((("openai_chat", ("usage", "prompt_tokens")), Decimal("1e999999")))
@example((("openai_transcription_duration", ("usage", "seconds")), 1e-30))
def test_a_value_out_of_place_gives_a_usage_or_is_refused(case: tuple[tuple[str, tuple[Any, ...]], Any]) -> None:
    (name, path), value = case
    with suppress(InvalidValueError):
        assert isinstance(billable_usage(name.partition("_")[0], with_value(body_of(name), path, value)), BillableUsage)


FIELDS = sorted({key for _, path in SPOTS for key in path if isinstance(key, str)})
BODIES = st.recursive(
    GARBAGE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
)


@given(st.sampled_from(PROVIDERS), st.dictionaries(st.sampled_from(FIELDS), BODIES, max_size=6))
def test_any_object_gives_a_usage_or_is_refused(provider: str, body: dict[str, Any]) -> None:
    with suppress(InvalidValueError):
        assert isinstance(billable_usage(provider, body), BillableUsage)


@given(st.lists(st.dictionaries(st.sampled_from(["type", "message", "usage"]), BODIES, max_size=3), max_size=4))
def test_any_stream_gives_a_body_or_is_refused(events: list[dict[str, Any]]) -> None:
    with suppress(InvalidValueError):
        assert isinstance(anthropic_message_of(events), dict)


def nulled(value: Any) -> Any:
    """The same with every number that is 0 as null, or left out."""
    if isinstance(value, Mapping):
        return {key: nulled(item) for key, item in value.items() if key != "web_fetch_requests"} | {"unknown": object()}
    if isinstance(value, list):
        return [nulled(item) for item in value]
    return None if value == 0 and not isinstance(value, bool) else value


@pytest.mark.parametrize("name", NAMES)
def test_nulls_are_0_and_unknown_fields_are_ignored(name: str) -> None:
    provider, body = name.partition("_")[0], body_of(name)
    assert billable_usage(provider, nulled(body)) == billable_usage(provider, body)


def retyped(value: Any, kind: type) -> Any:
    if isinstance(value, dict):
        return {key: retyped(item, kind) for key, item in value.items()}
    if isinstance(value, list):
        return [retyped(item, kind) for item in value]
    return kind(value) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize("kind", [float, Decimal])
@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_of_any_type_are_the_same_counts(name: str, kind: type) -> None:
    provider, body = name.partition("_")[0], body_of(name)
    assert billable_usage(provider, retyped(body, kind)) == billable_usage(provider, body)


@pytest.mark.parametrize("provider", ADAPTERS)
@pytest.mark.parametrize(
    "response",
    [{}, {"usage": None}, {"usage": {}}, {"usageMetadata": {}}, {"meta": {"billed_units": {}}}, {"error": {"code": 1}}],
)
def test_a_response_without_usage_is_refused(provider: str, response: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match=r"usage|meta"):
        billable_usage(provider, response)


@pytest.mark.parametrize("response", [None, "text", 5, [{}]])
def test_a_response_that_is_no_object_is_refused(response: Any) -> None:
    with pytest.raises(InvalidValueError, match="response: must be an object"):
        billable_usage("openai", response)


@pytest.mark.parametrize("value", [True, -1, 1.5, "5", float("nan"), float("inf"), 2**63, [], {}])
def test_a_count_that_is_none_is_refused_by_its_path(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"usage\.prompt_tokens_details\.cached_tokens"):
        billable_usage("openai", {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": value}}})


def test_an_error_does_not_repeat_what_a_response_says() -> None:
    with pytest.raises(InvalidValueError) as raised:
        billable_usage("openai", {"usage": {"prompt_tokens": "a secret"}})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("provider", ["", "nobody", None, "OpenAI"])
def test_an_unknown_provider_is_refused_with_those_that_are_known(provider: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"provider: .*anthropic"):
        billable_usage(provider, recorded("openai_chat"))
