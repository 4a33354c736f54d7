"""Usage records as lines of text, and back."""

import csv
import io
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewaydb import BillableUsage, InvalidValueError, UsageRecord
from gatewaydb.cli.traces import BadLine, TraceRow
from gatewaydb.cli.usage_lines import COLUMNS, UsageLine, csv_cells, json_line, read_usage

KEY, OTHER = UUID(int=1), UUID(int=2)
AT = datetime(2026, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)
FULL = UsageRecord(
    id=UUID(int=3),
    api_key_id=KEY,
    model_id=OTHER,
    provider_id=UUID(int=4),
    request_timestamp=AT,
    prompt_tokens=100,
    completion_tokens=50,
    total_tokens=151,
    cached_tokens=10,
    reasoning_tokens=20,
    cost_usd=Decimal("0.000000000001"),
    price_version=7,
    request_id='says "no", and\r\nends',
    model_name="null",
    endpoint="/v1/chat",
    response_time_ms=0,
    status_code=499,
    error_message="a\rb\u2028c\t'",
    request_metadata={"user": "schlüssel, 钥匙", "nested": {"list": [1, 2.5, None, True], "empty": {}}},
    response_metadata={"0": ""},
    billable=BillableUsage(100, 50, seconds=Decimal("1E-7"), web_searches={"low": 2}, tool_calls={"x": 1}),
    pricing_context={"service_tier": "flex"},
).checked()
BARE = UsageRecord(id=UUID(int=5), api_key_id=KEY, request_timestamp=AT).checked()

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.none() | st.text(CHARACTERS, min_size=1).filter(lambda text: bool(text.strip()) and len(text) < 256)
counts = st.integers(0, 2**53)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text(CHARACTERS), values)
records = st.builds(
    UsageRecord,
    api_key_id=st.uuids(),
    id=st.uuids(),
    model_id=st.none() | st.uuids(),
    provider_id=st.none() | st.uuids(),
    request_timestamp=st.integers(0, 10**17).map(
        lambda each: datetime(1, 1, 1, tzinfo=UTC) + timedelta(microseconds=each)
    ),
    prompt_tokens=counts,
    completion_tokens=counts,
    total_tokens=counts,
    cost_usd=st.none() | st.decimals(0, 9_000_000, places=12),
    request_id=texts,
    model_name=texts,
    error_message=texts,
    status_code=st.none() | st.integers(0, 999),
    request_metadata=objects,
    billable=st.none() | st.builds(BillableUsage, counts, seconds=st.decimals(0, 1000, places=18)),
).map(UsageRecord.checked)


def as_csv(*written: UsageRecord) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *map(csv_cells, written)])
    return text.getvalue()


def as_json(*written: UsageRecord) -> str:
    return b"".join(map(json_line, written)).decode()


def read(text: str) -> list[TraceRow | UsageLine | BadLine]:
    lines = iter(io.StringIO(text, newline="\n").readline, "")
    return list(read_usage(lines, "usage.csv"))


def one(text: str) -> UsageLine:
    [line] = read(text)
    assert isinstance(line, UsageLine), line
    return line


@pytest.mark.parametrize("form", [as_csv, as_json])
@pytest.mark.parametrize("record", [FULL, BARE])
def test_every_field_comes_back(form: Any, record: UsageRecord) -> None:
    assert one(form(record)).record(record.api_key_id) == record


@settings(max_examples=50)
@given(st.lists(records, min_size=1, max_size=3))
def test_what_was_written_is_read(written: list[UsageRecord]) -> None:
    for form in (as_csv, as_json):
        found = read(form(*written))
        assert [line.record(each.api_key_id) for line, each in zip(found, written, strict=True)] == written  # type: ignore[union-attr]


def test_money_is_decimal_text_and_times_are_iso_in_utc() -> None:
    assert '"cost_usd":"0.000000000001"' in as_json(FULL)
    assert '"request_timestamp":"2026-11-16T18:17:03.979960Z"' in as_json(FULL)
    cells = csv_cells(FULL)
    assert cells[COLUMNS.index("cost_usd")] == "0.000000000001"
    assert cells[COLUMNS.index("request_timestamp")] == "2026-11-16T18:17:03.979960+00:00"


def test_a_number_is_exact_money_too() -> None:
    line = one('{"request_timestamp": "2026-11-16T18:17:03Z", "cost_usd": 0.1000000000001}')
    assert line.record(KEY).cost_usd == Decimal("0.1000000000001").quantize(Decimal("1e-12"))


def test_columns_stand_in_any_order_and_may_be_left_out() -> None:
    line = one("prompt_tokens,request_timestamp,api_key,model\n7,2026-11-16T20:17:03+02:00,production,fast\n")
    assert (line.api_key, line.model, line.line) == ("production", "fast", 2)
    record = line.record(KEY, model_id=OTHER)
    assert (record.prompt_tokens, record.total_tokens, record.model_id) == (7, 7, OTHER)
    assert record.request_timestamp == datetime(2026, 11, 16, 18, 17, 3, tzinfo=UTC)


def test_a_time_without_a_zone_is_utc() -> None:
    line = one("request_timestamp\n2026-11-16T18:17:03\n")
    assert line.record(KEY).request_timestamp == datetime(2026, 11, 16, 18, 17, 3, tzinfo=UTC)


def test_a_line_without_an_id_has_one_that_follows_from_its_key_number_and_text() -> None:
    text = "request_timestamp\n2026-11-16T18:17:03Z\n2026-11-16T18:17:03Z\n"

    def ids(of: str, key: UUID) -> list[UUID]:
        return [line.record(key).id for line in read(of) if isinstance(line, UsageLine)]

    assert ids(text, KEY) == ids(text, KEY)
    assert len({*ids(text, KEY), *ids(text, OTHER)}) == 4
    assert all(each.version == 7 for each in ids(text, KEY))
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    with pytest.raises(InvalidValueError, match="request_timestamp"):
        one(f'{{"request_timestamp": "{early.isoformat()}"}}').record(KEY)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"request_timestamp": "2026-11-16T18:17:03Z"', "truncated"),
        ('{"request_timestamp": "2026-11-16T18:17:03Z", "cost": 1}', "unknown field `cost`"),
        ('{"request_timestamp": "soon"}', "request_timestamp: "),
        ('{"prompt_tokens": "many"}', "prompt_tokens: Expected"),
        ('{"prompt_tokens": 1.5}', "prompt_tokens: Expected"),
        ('{"api_key_id": "x"}', "api_key_id: "),
        ('{"billable": {"input_tokens": -1}}', "billable: "),
        ('{"model_name": "\udcff"}', "is no UTF-8"),
        ("[]", "Expected"),
    ],
)
def test_a_bad_line_of_json_says_why(line: str, reason: str) -> None:
    good = json_line(BARE).decode()
    before, bad, after = read(f"{good}{line}\n\n{good}")
    assert isinstance(bad, BadLine)
    assert (bad.line, reason in bad.reason) == (2, True), bad.reason
    assert isinstance(before, UsageLine)
    assert isinstance(after, UsageLine)
    assert after.line == 4


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-11-16T18:17:03Z,1", "has 2 of 3 columns"),
        ("yesterday,1,", "request_timestamp: "),
        ("2026-11-16T18:17:03Z,-,", "prompt_tokens: Expected"),
        ("2026-11-16T18:17:03Z,1,{", "request_metadata: "),
        ("2026-11-16T18:17:03Z,1,[]", "request_metadata: Expected"),
        ('2026-11-16T18:17:03Z,1,"{}" ', "expected after"),
    ],
)
def test_a_bad_row_of_csv_says_why(row: str, reason: str) -> None:
    good = "2026-11-16T18:17:03Z,1,\n"
    found = read(f"request_timestamp,prompt_tokens,request_metadata\n{good}{row}\n,,\n{good}")
    assert [type(each) for each in found] == [UsageLine, BadLine, UsageLine]
    assert (found[1].line, reason in found[1].reason) == (3, True), found[1]  # type: ignore[union-attr]


def test_a_quote_that_is_never_closed_is_a_bad_line_and_not_half_a_record() -> None:
    [bad] = read('request_timestamp,error_message\n2026-11-16T18:17:03Z,"it broke\n')
    assert isinstance(bad, BadLine)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n", "no column request_timestamp"),
        ("a,b,c\n1,2,3\n", "no column request_timestamp"),
        ("request_timestamp,cost\n", "unknown columns: cost"),
        ("request_timestamp,request_timestamp\n", "a column twice"),
        ("TIMESTAMP,GeneratedTokens\n", "no column ContextTokens"),
        ('"' * 3_000_001, "line 1"),
    ],
)
def test_a_first_line_that_is_no_beginning_refuses_the_file(text: str, said: str) -> None:
    with pytest.raises(InvalidValueError, match=f"usage.csv: .*{said}"):
        read(text)


def test_an_empty_file_is_an_export_of_nothing() -> None:
    assert read("") == []


def test_a_trace_is_told_by_its_columns() -> None:
    [row] = read("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97996,1,2\n")
    assert isinstance(row, TraceRow)
