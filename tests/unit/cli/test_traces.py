"""Reading a trace, and the ids of its rows."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewaydb.cli.traces import BadLine, TraceRow, read_trace, record_id
from gatewaydb.errors import InvalidValueError

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
AT = datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)
KEY, MODEL = UUID(int=1), UUID(int=2)

times = st.integers(0, 10**16).map(
    lambda microseconds: datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
)
counts = st.integers(0, 2**53)


def read(text: str) -> list[TraceRow | BadLine]:
    return list(read_trace(text.splitlines(keepends=True), "trace.csv"))


def test_seven_digits_of_fraction_and_no_zone_are_microseconds_in_utc() -> None:
    assert read(HEADER + "2023-11-16 18:17:03.9799600,4808,10\n") == [TraceRow(2, AT, 4808, 10)]


def test_a_zone_is_heeded() -> None:
    assert read(HEADER + "2023-11-16T20:17:03.97996+02:00,1,2") == [TraceRow(2, AT, 1, 2)]


def test_columns_stand_in_any_order_beside_others() -> None:
    text = "kind, generatedtokens ,TIMESTAMP,ContextTokens\ncode,2,2023-11-16 18:17:03.97996,1\n"
    assert read(text) == [TraceRow(2, AT, 1, 2)]


def test_empty_lines_are_left_out_and_counted() -> None:
    assert read(f"{HEADER}\n  \n,,\n2023-11-16 18:17:03.97996,1,2\n") == [TraceRow(5, AT, 1, 2)]


@given(st.lists(st.tuples(times, counts, counts)))
def test_what_was_written_is_read(rows: list[tuple[datetime, int, int]]) -> None:
    text = HEADER + "".join(f"{at.isoformat(' ')},{prompt},{completion}\n" for at, prompt, completion in rows)
    assert read(text) == [TraceRow(line, *row) for line, row in enumerate(rows, 2)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2023-11-16 18:17:03,1", "has 2 of 3 columns"),
        ("yesterday,1,2", "TIMESTAMP: 'yesterday' is no time"),
        ("0001-01-01 00:00:00+10:00,1,2", "TIMESTAMP: '0001-01-01 00:00:00+10:00' is no time"),
        ("2023-11-16,-1,2", "ContextTokens: '-1' is no number of tokens"),
        ("2023-11-16,1.5,2", "ContextTokens: '1.5' is no number of tokens"),
        ("2023-11-16,1,", "GeneratedTokens: '' is no number of tokens"),
        ("2023-11-16,1,1_000", "GeneratedTokens: '1_000' is no number of tokens"),
        ("2023-11-16,1,٣", "GeneratedTokens: '٣' is no number of tokens"),
        (f"2023-11-16,1,{2**53 + 1}", f"GeneratedTokens: '{2**53 + 1}' is no number of tokens"),
        (f"2023-11-16,1,{'9' * 5000}", f"GeneratedTokens: '{'9' * 40}' is no number of tokens"),
    ],
)
def test_a_bad_line_says_why(line: str, reason: str) -> None:
    assert read(HEADER + line) == [BadLine(2, reason)]


@pytest.mark.parametrize("text", ["", "\n", "a,b,c\n1,2,3", "TIMESTAMP,ContextTokens\n", "x" * 200_000])
def test_another_kind_of_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"^trace\.csv: "):
        read(text)


@given(times, counts, counts, st.integers(2, 10**9))
def test_an_id_is_a_uuid7_of_the_row_s_time_and_always_the_same(
    at: datetime, prompt: int, completion: int, line: int
) -> None:
    row = TraceRow(line, at, prompt, completion)
    made = record_id(KEY, row, MODEL)
    assert made == record_id(KEY, TraceRow(*row), MODEL)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def test_whatever_differs_makes_another_id() -> None:
    row = TraceRow(2, AT, 1, 2)
    rows = [row, row._replace(line=3), row._replace(prompt_tokens=2), row._replace(at=AT + timedelta(microseconds=1))]
    ids = [record_id(KEY, each, MODEL) for each in rows]
    ids += [record_id(uuid4(), row, MODEL), record_id(KEY, row, uuid4())]
    assert len(set(ids)) == len(ids)
