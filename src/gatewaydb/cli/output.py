"""Tables for people, JSON for programs, notes and progress on stderr."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from gatewaydb.pricing import PriceSheet

_WIDTH_WITHOUT_TERMINAL = 1_000
"""A file or a pipe has no width: nothing is folded there."""

_CELL_MAX_WIDTH = 48

Progress = Callable[[int, int], None]
"""Called with what is done and what there is to do."""


def console(*, stderr: bool = False) -> Console:
    """Text goes out as it is: names are data, and no markup."""
    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


def say(text: str = "", style: str | None = None) -> None:
    """One line of a result."""
    console().print(Text(text, style or ""), soft_wrap=True)


def note(text: str) -> None:
    """One line on stderr, beside the result."""
    console(stderr=True).print(Text(text, "dim"), soft_wrap=True)


def show_json(value: Any) -> None:
    """Decimals and ids as text, times in ISO 8601."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain(value)), indent=2).decode() + "\n")


def plain(value: Any) -> Any:
    """The value in what JSON knows."""
    built = msgspec.to_builtins(value, builtin_types=(Decimal,), enc_hook=_listed)
    return _without_decimals(built)


def _listed(value: Any) -> Any:
    if isinstance(value, PriceSheet):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _without_decimals(value: Any) -> Any:
    match value:
        case Decimal():
            return f"{value:f}"
        case dict():
            return {key: _without_decimals(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_decimals(item) for item in value]
    return value


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """A table; a column that begins with `>` holds numbers, which stand to the right."""
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        made.add_column(column.lstrip(">"), justify=justify, overflow="fold", max_width=_CELL_MAX_WIDTH)
    for row in rows:
        made.add_row(*map(cell, row))
    return made


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """The table, or a note where there are no rows. What a terminal has no room for is left out, from the right."""
    if not rows:
        note(empty)
        return
    screen, room = console(), len(columns)
    unbounded = screen.options.update(max_width=_WIDTH_WITHOUT_TERMINAL)
    made = table(columns, rows)
    while room > 2 and Measurement.get(screen, unbounded, made).maximum > screen.width:
        room -= 1
        made = table(columns[:room], [row[:room] for row in rows])
    screen.print(made)
    if room < len(columns):
        note(f"No room for {', '.join(column.lstrip('>') for column in columns[room:])}; --json has all.")


def show_fields(fields: Mapping[str, Any]) -> None:
    """One thing, a line for each of its fields."""
    console().print(field_grid(fields))


def field_grid(fields: Mapping[str, Any]) -> Table:
    """Names on the left, values on the right."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in fields.items():
        made.add_row(visible(name), cell(value))
    return made


def cell(value: Any) -> Text:
    """A value for people."""
    if isinstance(value, Text):
        return value
    if value is None or (isinstance(value, list | tuple) and not value):
        return Text("-", "dim")
    return Text(visible(_written(value)))


def _written(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        case Decimal():
            return f"{value:f}"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)


def visible(text: str) -> str:
    """Control characters written out: a name from the database must not steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def exact_usd(amount: Decimal) -> str:
    """Dollars with all the decimals they have, at least two."""
    whole, _, decimals = f"{amount:,f}".partition(".")
    return f"${whole}.{decimals.rstrip('0'):<02}"


def usd(amount: Decimal | None, places: int = 4) -> Text:
    """Dollars for people, rounded; unpriced is said, and is not 0."""
    if amount is None:
        return Text("unpriced", "yellow")
    smallest = Decimal(1).scaleb(-places)
    if 0 < amount < smallest:
        return Text(f"<${smallest:f}")
    return Text(f"${amount:,.{places}f}")


def spent(amount: Decimal, requests: int, unpriced_requests: int) -> Text:
    """The cost of so many requests; where all of them are unpriced, that is said, as it is not 0."""
    return usd(None if 0 < requests == unpriced_requests else amount)


def unpriced(requests: int) -> Text:
    """How many requests are in no sum of money; they stand out, as the money is not all."""
    return Text(f"{requests:,}", "yellow" if requests else "dim")


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar on stderr while the block runs, if that is a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda *_: None
        return
    # A bar is drawn on terminals only, and loading it takes time.
    from rich import progress  # noqa: PLC0415

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
