"""What people write on a command line."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gatewaydb import InvalidValueError
from gatewaydb.cli import values
from gatewaydb.cli.errors import UsageError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-01", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T12:00+02:00", datetime(2027, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))),
        ("2027-01-01 12:00:00.5Z", datetime(2027, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("90d", NOW + timedelta(days=90)),
        ("1h30m", NOW + timedelta(minutes=90)),
    ],
)
def test_a_moment_is_a_time_or_a_duration(text: str, moment: datetime) -> None:
    assert values.future("--expires", text, NOW) == moment


def test_a_duration_counts_back_where_the_past_is_meant() -> None:
    assert values.past("--since", "7d", NOW) == NOW - timedelta(days=7)


@pytest.mark.parametrize("text", ["", "soon", "90", "d", "-5m", "2027-13-01", "99999999y", "0001-01-01T00:00+14:00"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(UsageError, match="--expires"):
        values.future("--expires", text, NOW)


def test_a_range_without_ends_is_all_there_is() -> None:
    assert values.time_range(None, None) == (values.EARLIEST, values.LATEST)


def test_months() -> None:
    assert values.month("2026-11") == (2026, 11)
    now = datetime.now(UTC)
    assert values.month(None) in {(now.year, now.month), (datetime.now(UTC).year, datetime.now(UTC).month)}
    for text in ("2026-13", "2026-0", "11-2026", "2026", "2026-11-01"):
        with pytest.raises(UsageError):
            values.month(text)


def test_names_and_pairs() -> None:
    assert values.names("--models", " gpt-4o, openai/* ,") == ("gpt-4o", "openai/*")
    assert values.pairs("tag", ["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    assert values.metadata(["owner.email=a@b.c", "tag.x.y=1"]) == {"owner": {"email": "a@b.c"}, "tag": {"x.y": "1"}}


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (values.pairs, ("tag", ["a"])),
        (values.pairs, ("tag", ["=a"])),
        (values.metadata, (["tag=1"],)),
        (values.metadata_name, ("tag",)),
        (values.metadata_name, (".x",)),
        (values.names, ("--models", " , ")),
    ],
)
def test_what_has_another_form_is_refused(function: Any, argument: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        function(*argument)


@pytest.mark.parametrize("text", ["abc", "NaN", "-1", "1e30", ""])
def test_money_is_checked(text: str) -> None:
    with pytest.raises(InvalidValueError, match="--budget"):
        values.money("--budget", text)
