"""A report as one page of HTML that needs nothing else: no script, no font, no other file. Pure.

Labels come from whoever names keys. All of them are escaped, and the page forbids any script to itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html import escape
from importlib import resources
from math import ceil, log10
from typing import NamedTuple
from uuid import UUID

from gatewaydb import UsageReport, UsageReportRow

SERIES_ROWS = 7
"""How many rows have a colour of their own; the style sheet knows as many."""

_BARS, _TABLE_ROWS = 10, 200
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 1000, 240, 64, 12, 26
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT, _HEIGHT - _TOP - _BOTTOM
_DATE_LABELS = 8


class ReportData(NamedTuple):
    """What a page shows: the report, its first rows day by day, and the sums of each day."""

    report: UsageReport
    series: Sequence[UsageReportRow]
    days: Sequence[UsageReportRow]


class _Layer(NamedTuple):
    name: str
    color: str
    costs: Mapping[date, Decimal]


def page(data: ReportData, made_at: datetime) -> str:
    """The whole document."""
    report = data.report
    title = f"Usage by {report.by}"
    last = report.end - timedelta(days=1)
    style = resources.files("gatewaydb.cli").joinpath("report_page.css").read_text(encoding="utf-8")
    body = [
        f"<header><h1>{escape(title)}</h1>",
        f"<p>{report.start} to {max(last, report.start)}, whole days in UTC</p></header>",
        _tiles(report.total),
    ]
    if report.rows:
        body += [_bars(report), _cost_chart(data), _request_chart(data)]
    body += [_table(report), f"<footer>Made by gatewaydb at {made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC</footer>"]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}, {report.start} to {last}</title>\n<style>\n{style}</style>\n</head>",
            "<body>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    )


def _tiles(total: UsageReportRow) -> str:
    shown = {
        "Cost": _usd(total.cost_usd),
        "Requests": f"{total.requests:,}",
        "Tokens": _short(total.total_tokens),
        "Errors": f"{total.client_errors + total.server_errors:,}",
        "Unpriced requests": f"{total.unpriced_requests:,}",
    }
    tiles = "".join(
        f"<div><dt>{name}</dt><dd{_warning(name, total)}>{value}</dd></div>" for name, value in shown.items()
    )
    return f'<dl class="tiles">{tiles}</dl>'


def _warning(name: str, total: UsageReportRow) -> str:
    return ' class="warn"' if name == "Unpriced requests" and total.unpriced_requests else ""


def _bars(report: UsageReport) -> str:
    dearest = sorted(report.rows, key=lambda row: -row.cost_usd)[:_BARS]
    top = max(row.cost_usd for row in dearest) or Decimal(1)
    bars = "\n".join(
        f'<div class="name" title="{_name(row)}">{_name(row)}</div>'
        f'<div><div class="bar" style="width:{row.cost_usd / top:.2%}"></div></div>'
        f'<div class="number">{_usd(row.cost_usd)}</div>'
        for row in dearest
    )
    return f'<section><h2>Cost by {escape(report.by)}</h2>\n<div class="bars">\n{bars}\n</div></section>'


def _cost_chart(data: ReportData) -> str:
    days = _days(data)
    layers = _layers(data)
    top, ticks = _scale([sum((layer.costs.get(day, Decimal(0)) for layer in layers), Decimal(0)) for day in days])
    marks = list(_grid(days, top, ticks, money=True))
    for number, day in enumerate(days):
        level = 0.0
        for layer in layers:
            cost = layer.costs.get(day, Decimal(0))
            height = float(cost) / top * _PLOT_HEIGHT
            if height > 0:
                level += height
                marks.append(_column(number, len(days), level, height, layer, f"{day}, {layer.name}: {_usd(cost)}"))
    legend = "".join(
        f'<li><i style="background:var({layer.color})"></i><span>{escape(layer.name)}</span></li>' for layer in layers
    )
    return _chart("Cost per day", marks, f'<ul class="legend">{legend}</ul>' if len(layers) > 1 else "")


def _layers(data: ReportData) -> list[_Layer]:
    totals = {row.day: row.cost_usd for row in data.days if row.day}
    if data.report.by == "day":
        return [_Layer("cost", "--c0", totals)]
    own: dict[tuple[str | None, UUID | None], dict[date, Decimal]] = {}
    for row in data.series:
        assert row.day is not None
        own.setdefault((row.label, row.id), {})[row.day] = row.cost_usd
    names = {(row.label, row.id): _label(row) for row in data.series}
    layers = [
        _Layer(names[key], f"--c{number % SERIES_ROWS}", costs) for number, (key, costs) in enumerate(own.items())
    ]
    shown = {day: sum((layer.costs.get(day, Decimal(0)) for layer in layers), Decimal(0)) for day in totals}
    others = {day: max(Decimal(0), total - shown[day]) for day, total in totals.items()}
    return [*layers, _Layer("all others", "--other", others)] if any(others.values()) else layers


def _request_chart(data: ReportData) -> str:
    days = _days(data)
    requests = {row.day: row.requests for row in data.days}
    counts = [requests.get(day, 0) for day in days]
    top, ticks = _scale(counts)
    places = [
        (_LEFT + (number + 0.5) * _PLOT_WIDTH / len(days), _TOP + _PLOT_HEIGHT * (1 - count / top))
        for number, count in enumerate(counts)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    floor = _TOP + _PLOT_HEIGHT
    marks = [
        *_grid(days, top, ticks, money=False),
        f'<polygon class="area" points="{places[0][0]:.1f},{floor} {line} {places[-1][0]:.1f},{floor}"/>',
        f'<polyline class="trend" points="{line}"/>',
        *(
            f'<circle class="spot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{day}: {count:,} requests</title></circle>'
            for (x, y), day, count in zip(places, days, counts, strict=True)
        ),
    ]
    return _chart("Requests per day", marks)


def _days(data: ReportData) -> list[date]:
    """All days of the range, but for those before the first and after the last usage where the range is a long one."""
    first, end = data.report.start, data.report.end
    used = [row.day for row in data.days if row.day]
    if (end - first).days > 100:
        first, end = min(used), max(used) + timedelta(days=1)
    return [first + timedelta(days=number) for number in range((end - first).days)]


def _scale(values: Iterable[Decimal | int]) -> tuple[float, list[float]]:
    """The top of an axis and its ticks: steps of 1, 2, 2.5 or 5 times a power of ten."""
    highest = float(max(values, default=0)) or 1.0
    power = 10.0 ** (ceil(log10(highest / 4)) - 1)
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * 4 >= highest)
    count = ceil(highest / step - 1e-9)
    return step * count, [step * number for number in range(count + 1)]


def _grid(days: Sequence[date], top: float, ticks: Sequence[float], *, money: bool) -> Iterator[str]:
    for tick in ticks:
        y = _TOP + _PLOT_HEIGHT * (1 - tick / top)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        label = f"${tick:,.{_places(ticks)}f}" if money else _short(tick)
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    every = ceil(len(days) / _DATE_LABELS)
    for number in range(0, len(days), every):
        x = _LEFT + (number + 0.5) * _PLOT_WIDTH / len(days)
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{days[number]:%b} {days[number].day}</text>'


def _places(ticks: Sequence[float]) -> int:
    return next((places for places in range(12) if all(abs(t - round(t, places)) < 1e-13 for t in ticks)), 12)


def _column(number: int, count: int, level: float, height: float, layer: _Layer, title: str) -> str:
    slot = _PLOT_WIDTH / count
    x, y = _LEFT + (number + 0.14) * slot, _TOP + _PLOT_HEIGHT - level
    return (
        f'<rect x="{x:.1f}" y="{y:.2f}" width="{slot * 0.72:.1f}" height="{height:.2f}" '
        f'style="fill:var({layer.color})"><title>{escape(title)}</title></rect>'
    )


def _chart(title: str, marks: Iterable[str], below: str = "") -> str:
    drawn = "\n".join(marks)
    return (
        f'<section><h2>{title}</h2>\n<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">\n'
        f"{drawn}\n</svg>{below}</section>"
    )


def _table(report: UsageReport) -> str:
    if not report.rows:
        return "<section><p>No usage in this time.</p></section>"
    heads = ("Cost", "Requests", "Unpriced", "4xx", "5xx", "Prompt", "Completion", "Cached")
    head = "".join(f'<th scope="col" class="number">{name}</th>' for name in heads)
    rows = "\n".join(f"<tr><td>{_name(row)}</td>{_cells(row)}</tr>" for row in report.rows[:_TABLE_ROWS])
    shown = min(len(report.rows), _TABLE_ROWS)
    left_out = f"<p>The first {shown} of {report.row_count:,} rows.</p>" if shown < report.row_count else ""
    overlap = "<p>A key of several tags counts in each of them, and once in all.</p>" if report.by == "tag" else ""
    return "\n".join(
        [
            '<section><h2>All figures</h2>\n<div class="table"><table>',
            f'<thead><tr><th scope="col">{escape(report.by.capitalize())}</th>{head}</tr></thead>',
            f"<tbody>\n{rows}\n</tbody>",
            f'<tfoot><tr><th scope="row">All</th>{_cells(report.total)}</tr></tfoot>',
            f"</table></div>{left_out}{overlap}</section>",
        ]
    )


def _cells(row: UsageReportRow) -> str:
    counts = (row.requests, row.unpriced_requests, row.client_errors, row.server_errors)
    tokens = (row.prompt_tokens, row.completion_tokens, row.cached_tokens)
    cells = (_usd(row.cost_usd), *(f"{count:,}" for count in (*counts, *tokens)))
    return "".join(f'<td class="number">{cell}</td>' for cell in cells)


def _label(row: UsageReportRow) -> str:
    return "none" if row.label is None else row.label


def _name(row: UsageReportRow) -> str:
    return escape(_label(row))


def _usd(amount: Decimal) -> str:
    return "&lt;$0.01" if 0 < amount < Decimal("0.01") else f"${amount:,.2f}"


def _short(number: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"
