"""What the demo makes up, and how it draws."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gatewaydb.cli.charts import bar, column_chart
from gatewaydb.cli.demo.traffic import CALLERS, WORKLOADS, Request, from_trace, made_up
from gatewaydb.cli.traces import TraceRow

DAY = datetime(2026, 11, 22, tzinfo=UTC)


def test_the_same_seed_makes_the_same_day() -> None:
    assert made_up(500, 7, DAY) == made_up(500, 7, DAY)
    assert made_up(500, 7, DAY) != made_up(500, 8, DAY)


def test_a_day_is_in_order_and_within_itself() -> None:
    times = [request.at for request in made_up(2_000, 1, DAY)]
    assert times == sorted(times)
    assert times[0] >= DAY
    assert times[-1] < DAY + timedelta(days=1)


def test_every_caller_and_every_model_is_there_and_parts_are_within_their_wholes() -> None:
    day = made_up(3_000, 1, DAY)
    assert {request.caller for request in day} == {caller.name for caller in CALLERS}
    assert {request.model for request in day} == {load.model for load in WORKLOADS}
    assert Counter(request.caller for request in day).most_common(1)[0][0] == "production"
    assert all(_is_possible(request) for request in day)


def test_a_trace_keeps_its_times_and_tokens() -> None:
    rows = [TraceRow(line, DAY + timedelta(seconds=line), line * 3, line) for line in range(2, 300)]
    day = from_trace(rows, 1)
    assert [(request.at, request.prompt_tokens, request.completion_tokens) for request in day] == [
        row[1:] for row in rows
    ]
    assert all(_is_possible(request) for request in day)


def test_columns_stand_for_values() -> None:
    lines = column_chart(
        [Decimal(0), Decimal(1), Decimal(2), Decimal(4)], ["a", "b", "c", "d"], height=2
    ).plain.splitlines()
    assert lines == ["  $4.00          ██", "     $0    ▄▄ ██ ██", "        a"]


def test_a_chart_of_nothing_is_flat() -> None:
    assert "█" not in column_chart([Decimal(0)] * 24, [""] * 24).plain


def test_bars() -> None:
    assert bar(Decimal(1), 10) == "█" * 10
    assert bar(Decimal("0.55"), 10) == "█████▌"
    assert bar(Decimal("0.0001"), 10) == "▏"
    assert bar(Decimal(0), 10) == ""


def _is_possible(request: Request) -> bool:
    return (
        0 <= request.cached_tokens <= request.prompt_tokens
        and 0 <= request.reasoning_tokens <= request.completion_tokens
    )
