"""What an operator wants to see at the end of the day, read from the database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gatewaydb import APIKey, Database, KeyModelTotals
from gatewaydb.cli.charts import bar, column_chart
from gatewaydb.cli.demo.gateway import Gateway
from gatewaydb.cli.demo.traffic import Request
from gatewaydb.cli.output import console, exact_usd, field_grid, plain, spent, table, unpriced

_BUCKETS = 24
_BAR_WIDTH = 14
_SUMMED = ("requests", "prompt_tokens", "completion_tokens", "cost_usd", "unpriced_requests")


async def make_report(
    db: Database, gateway: Gateway, keys: Mapping[str, APIKey], day: Sequence[Request], seconds: float
) -> dict[str, Any]:
    """The day in numbers. Money, tokens and requests are what the database says, for the demo's keys only."""
    caches = db.stats()
    hot_path = await gateway.measure_hot_path("production", "fast")
    start, end = _span(day)
    names = {key.id: name for name, key in keys.items()}
    rows = [row for row in await db.usage.get_totals_by_key_and_model(start, end) if row.api_key_id in names]
    by_key = _sums(rows, lambda row: names[row.api_key_id])
    for sums in by_key:
        sums["budget_usd"] = keys[sums["name"]].monthly_budget_usd
    return {
        "start": start,
        "end": end,
        "requests": len(day),
        "recorded": gateway.recorded,
        "refused": dict(gateway.refusals.most_common()),
        "seconds": round(seconds, 3),
        "requests_per_second": round(len(day) / seconds),
        "cached_lookups_per_second": round(hot_path),
        "cost_usd": sum((row.cost_usd for row in rows), Decimal(0)),
        "unpriced_requests": sum(row.unpriced_requests for row in rows),
        "by_key": by_key,
        "by_model": _sums(rows, lambda row: row.model_name or ""),
        "by_time": await _by_time(db, keys, start, end),
        "api_key_cache": plain(caches.api_key_cache),
        "model_cache": plain(caches.model_cache),
        "summaries_agree": await _summaries_agree(db, keys, by_key),
    }


def show_report(report: Mapping[str, Any]) -> None:
    """The same for people."""
    screen = console()
    screen.print(_spend_table("Spend by API key", report["by_key"], report["cost_usd"]))
    screen.print(_spend_table("Spend by model", report["by_model"], report["cost_usd"]))
    screen.print(Text("Spend by time", "bold"))
    buckets = report["by_time"]
    labels = [f"{bucket['from']:%H:%M}" for bucket in buckets]
    screen.print(column_chart([bucket["cost_usd"] for bucket in buckets], labels))
    beside = Table.grid(padding=(0, 6))
    beside.add_row(Text("Refused", "bold"), Text("Vital signs", "bold"))
    beside.add_row(field_grid(report["refused"]), _vital_signs(report))
    screen.print(beside)


def _span(day: Sequence[Request]) -> tuple[datetime, datetime]:
    """Whole days around the requests if they fill one, else from the first to after the last."""
    first, last = day[0].at, day[-1].at
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    if last - first > timedelta(hours=12) and last - midnight < timedelta(days=1):
        return midnight, midnight + timedelta(days=1)
    return first, last + timedelta(microseconds=1)


def _sums(rows: Sequence[KeyModelTotals], name_of: Any) -> list[dict[str, Any]]:
    sums: defaultdict[str, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_SUMMED, 0))
    for row in rows:
        group = sums[name_of(row)]
        for field in _SUMMED:
            group[field] += getattr(row, field)
    return sorted(({"name": name, **group} for name, group in sums.items()), key=lambda group: -group["cost_usd"])


async def _by_time(db: Database, keys: Mapping[str, APIKey], start: datetime, end: datetime) -> list[dict[str, Any]]:
    width = (end - start) / _BUCKETS
    edges = [start + width * number for number in range(_BUCKETS)] + [end]
    return [
        {
            "from": first,
            "cost_usd": sum(
                [await db.usage.get_total_cost_by_api_key(key.id, first, last) for key in keys.values()], Decimal(0)
            ),
        }
        for first, last in pairwise(edges)
    ]


async def _summaries_agree(db: Database, keys: Mapping[str, APIKey], by_key: Sequence[Mapping[str, Any]]) -> bool:
    """Whether each key's monthly summaries add up to its records. The keys are new: all they used is of this day."""
    expected = {sums["name"]: (sums["requests"], sums["cost_usd"]) for sums in by_key}
    for name, key in keys.items():
        months = await db.monthly_summaries.get_by_api_key(key.id)
        kept = (sum(month.total_requests for month in months), sum(month.total_cost_usd for month in months))
        if kept != expected.get(name, (0, 0)):
            return False
    return True


def _spend_table(title: str, groups: Sequence[Mapping[str, Any]], total: Decimal) -> RenderableType:
    columns = ("name", ">requests", ">tokens in / out", ">cost", ">unpriced", ">share", "")
    rows = [_spend_row(group, total) for group in groups]
    sums = {field: sum(group[field] for group in groups) for field in _SUMMED}
    rows.append(("all", sums["requests"], _tokens(sums), *_money(sums), "", ""))
    return table(columns, rows, title)


def _spend_row(group: Mapping[str, Any], total: Decimal) -> tuple[Any, ...]:
    share = group["cost_usd"] / total if total else Decimal(0)
    beside = _budget(group) or Text(bar(share, _BAR_WIDTH), "cyan")
    return group["name"], group["requests"], _tokens(group), *_money(group), f"{share:.1%}", beside


def _money(group: Mapping[str, Any]) -> tuple[Text, Text]:
    """The cost, and what is not in it."""
    requests, without_price = group["requests"], group["unpriced_requests"]
    return spent(group["cost_usd"], requests, without_price), unpriced(without_price)


def _tokens(group: Mapping[str, Any]) -> str:
    return " / ".join(_rounded(group[field]) for field in ("prompt_tokens", "completion_tokens"))


def _rounded(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count >= 1_000_000 else f"{count / 1e3:.1f}K"


def _budget(group: Mapping[str, Any]) -> Text | None:
    budget = group.get("budget_usd")
    if budget is None:
        return None
    used = group["cost_usd"] / budget
    return Text(f"{used:.0%} of {exact_usd(budget)}", "red" if used >= 1 else "green")


def _vital_signs(report: Mapping[str, Any]) -> RenderableType:
    return field_grid(
        {
            "served": f"{report['requests']:,} in {report['seconds']:.2f} s",
            "throughput": f"{report['requests_per_second']:,} requests/s",
            "recorded": report["recorded"],
            "cached look-ups": f"{report['cached_lookups_per_second']:,} /s",
            "API key cache": f"{report['api_key_cache']['hit_rate']:.2%} hits",
            "model cache": f"{report['model_cache']['hit_rate']:.2%} hits",
            "month summaries": "agree" if report["summaries_agree"] else Text("DISAGREE", "bold red"),
        }
    )
