"""Daily usage summaries: kept by the database with every record. Every report is a sum of them; none reads records."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, get_args
from uuid import UUID

from gatewaydb.engines import Row
from gatewaydb.entities import DailyUsageSummary, ReportBy, UsageReport, UsageReportRow, checks
from gatewaydb.errors import InvalidValueError
from gatewaydb.repositories.base import Repository

SERIES_ROWS = 8
"""How many rows of a report a series follows day by day, unless it is told otherwise."""

_COUNTS = (
    "requests",
    "unpriced_requests",
    "client_errors",
    "server_errors",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
)
_PARTED_BY = {
    "day": "by_day",
    "status": "by_status",
    "model": "by_route",
    "provider": "by_route",
    "endpoint": "by_route",
}


class _Group(NamedTuple):
    """What makes a row of a report one row."""

    label: str | None
    id: UUID | None = None
    day: date | None = None


class DailyUsageSummaryRepository(Repository):
    """`db.daily_summaries`. Days are UTC, from `start` to before `end`.

    Both are dates, or timezone-aware datetimes, which are widened to whole days: a start at noon takes in that day, and
    so does an end at noon. All methods raise InvalidValueError.
    """

    async def report(
        self,
        by: ReportBy,
        start: date,
        end: date,
        *,
        api_key_id: UUID | None = None,
        model: str | UUID | None = None,
        tag_type: str = "tag",
        limit: int | None = None,
    ) -> UsageReport:
        """Exact sums of all usage of those days, dearest first, or of one key or model (by recorded name, or by id).

        By key, the label is the key's name, or the id of one that was deleted; by model, the name that was recorded,
        else the model's id; by provider, its name, else the `litellm_provider` of the model; by tag, `key=value` of the
        key's metadata of the type `tag_type`, one row for each that it bears, and None for keys without any. `limit`
        bounds the rows, and not the total.
        """
        groups = _Grouping(by, await self._tags(by, tag_type))
        rows = await self._sums(by, start, end, api_key_id, model, by_day=False)
        found = _sorted(by, groups.sums(rows))
        most = None if limit is None else checks.count("limit", limit, 1)
        return UsageReport(
            by=by,
            **_days(start, end),
            rows=tuple(found[:most]),
            row_count=len(found),
            total=_row(_Group(None), _summed(rows)),
        )

    async def series(
        self,
        by: ReportBy,
        start: date,
        end: date,
        *,
        api_key_id: UUID | None = None,
        model: str | UUID | None = None,
        tag_type: str = "tag",
        limit: int = SERIES_ROWS,
    ) -> Sequence[UsageReportRow]:
        """The first `limit` rows of the report, day by day: in the order of the report, then of the days.

        A day on which there was nothing has no row.
        """
        groups = _Grouping(by, await self._tags(by, tag_type))
        rows = await self._sums(by, start, end, api_key_id, model, by_day=True)
        if by == "day":
            return _sorted(by, groups.sums(rows))
        first = _sorted(by, groups.sums(rows))[: checks.count("limit", limit, 1)]
        rank = {(row.label, row.id): number for number, row in enumerate(first)}
        daily = [row for row in groups.sums(rows, by_day=True) if (row.label, row.id) in rank]
        return sorted(daily, key=lambda row: (rank[row.label, row.id], row.day))

    async def get_by_api_key(self, api_key_id: UUID, start: date, end: date) -> Sequence[DailyUsageSummary]:
        """What one key used on each day of each route by class of status, in that order."""
        key = checks.identifier("api_key_id", api_key_id)
        rows = await self._db.fetch_all("daily_usage_summary_list_by_api_key", api_key_id=key, **_days(start, end))
        return [DailyUsageSummary(**row) for row in rows]

    async def _sums(
        self,
        by: ReportBy,
        start: date,
        end: date,
        api_key_id: UUID | None,
        model: str | UUID | None,
        *,
        by_day: bool,
    ) -> Sequence[Row]:
        key = checks.optional_identifier("api_key_id", api_key_id)
        scope: dict[str, Any] = {**_days(start, end), **_model(model), "api_key_id": key}
        if by in _PARTED_BY:
            parts = {**dict.fromkeys(_PARTED_BY.values(), False), "by_day": by_day, _PARTED_BY[by]: True}
            statement = "daily_usage_summary_sum_by_route" + ("" if key is None else "_of_key")
            return await self._db.fetch_all(statement, **scope, **parts)
        statement = "daily_usage_summary_sum_by_key" + ("" if model is None else "_of_model")
        # Sums of weeks tell no days.
        first_week = scope["end"] if by_day else _first_week(scope["start"], scope["end"])
        rows = await self._db.fetch_all(statement, **scope, by_day=by_day, first_week=first_week)
        return [row for row in rows if key in (None, row["api_key_id"])]

    async def _tags(self, by: ReportBy, tag_type: str) -> Mapping[UUID, Sequence[str]]:
        if by not in get_args(ReportBy):
            raise InvalidValueError(f"by: must be one of {', '.join(get_args(ReportBy))}")
        tags = defaultdict[UUID, list[str]](list)
        if by == "tag":
            for row in await self._db.fetch_all(
                "daily_usage_summary_list_tags", type=checks.text("tag_type", tag_type)
            ):
                tags[row["api_key_id"]].append(f"{row['key']}={row['value']}")
        return tags


class _Grouping:
    """Rows of a statement into rows of a report."""

    def __init__(self, by: ReportBy, tags: Mapping[UUID, Sequence[str]]) -> None:
        self._groups_of = getattr(self, f"_{by}")
        self._tags = tags

    def sums(self, rows: Iterable[Row], *, by_day: bool = False) -> list[UsageReportRow]:
        groups = defaultdict[_Group, list[Row]](list)
        for row in rows:
            for group in self._groups_of(row):
                groups[group._replace(day=row["day"]) if by_day else group].append(row)
        return [_row(group, members[0] if len(members) == 1 else _summed(members)) for group, members in groups.items()]

    def _key(self, row: Row) -> list[_Group]:
        return [_Group(row["name"] or str(row["api_key_id"]), row["api_key_id"])]

    def _tag(self, row: Row) -> list[_Group]:
        return [_Group(tag) for tag in self._tags.get(row["api_key_id"], (None,))]

    def _model(self, row: Row) -> list[_Group]:
        return [_Group(row["model_name"] or _text(row["model_id"]), row["model_id"])]

    def _provider(self, row: Row) -> list[_Group]:
        if row["provider_id"] is None:
            return [_Group(row["litellm_provider"])]
        return [_Group(row["provider_name"] or _text(row["provider_id"]), row["provider_id"])]

    def _endpoint(self, row: Row) -> list[_Group]:
        return [_Group(row["endpoint"])]

    def _status(self, row: Row) -> list[_Group]:
        return [_Group(f"{row['status_class']}xx" if row["status_class"] else None)]

    def _day(self, row: Row) -> list[_Group]:
        return [_Group(f"{row['day']}", None, row["day"])]


def _summed(rows: Sequence[Row]) -> Row:
    sums: Row = {name: sum(row[name] for row in rows) for name in _COUNTS}
    sums["cost_usd"] = sum((row["cost_usd"] for row in rows), Decimal(0))
    sums["last_request_at"] = max((row["last_request_at"] for row in rows if row["last_request_at"]), default=None)
    return sums


def _row(group: _Group, sums: Row) -> UsageReportRow:
    counts = {name: sums[name] for name in _COUNTS}
    return UsageReportRow(
        **group._asdict(), **counts, cost_usd=sums["cost_usd"], last_request_at=sums["last_request_at"]
    )


def _sorted(by: ReportBy, rows: list[UsageReportRow]) -> list[UsageReportRow]:
    if by == "day":
        return sorted(rows, key=lambda row: row.label or "")
    return sorted(rows, key=lambda row: (-row.cost_usd, -row.requests, row.label or "", str(row.id)))


def _model(model: str | UUID | None) -> Row:
    if isinstance(model, UUID):
        return {"is_any_model": False, "model_id": checks.identifier("model", model), "model_name": None}
    return {"is_any_model": model is None, "model_id": None, "model_name": checks.optional_text("model", model)}


def _days(start: date, end: date) -> dict[str, date]:
    days = {"start": _day("start", start), "end": _day("end", end, is_end=True)}
    if days["start"] > days["end"]:
        raise InvalidValueError("start: must not be after end")
    return days


def _first_week(start: date, end: date) -> date:
    """The first Monday of those days, or their end."""
    days_off = -start.weekday() % 7
    return end if end - start <= timedelta(days=days_off) else start + timedelta(days=days_off)


def _day(field: str, value: date, *, is_end: bool = False) -> date:
    if isinstance(value, datetime):
        instant = checks.instant(field, value)
        is_cut = is_end and instant.time() > time() and instant.date() < date.max
        return instant.date() + timedelta(days=is_cut)
    if not isinstance(value, date):
        raise InvalidValueError(f"{field}: must be a date or a datetime, not {type(value).__name__}")
    return value


def _text(identifier: UUID | None) -> str | None:
    return None if identifier is None else str(identifier)
