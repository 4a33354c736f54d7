"""Charts of text. Pure."""

from collections.abc import Sequence
from decimal import Decimal

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_PARTS = " ▏▎▍▌▋▊▉"
_COLUMN = 3


def bar(share: Decimal, width: int) -> str:
    """A bar that is `width` characters long where the share is 1; a share above 0 always shows."""
    eighths = max(int(share * width * 8 + Decimal("0.5")), 1 if share else 0)
    return ("█" * (eighths // 8) + _PARTS[eighths % 8]).rstrip()


def column_chart(values: Sequence[Decimal], labels: Sequence[str], height: int = 6) -> Text:
    """A column for each value, none of them negative, with the top's amount in dollars and every fourth label."""
    top = max(values, default=Decimal(0))
    eighths = [int(value / top * height * 8 + Decimal("0.5")) if top else 0 for value in values]
    scale = {height: f"${top:,.2f}", 1: "$0"}
    width = max(map(len, scale.values()))
    chart = Text()
    for row in range(height, 0, -1):
        chart.append(f"  {scale.get(row, ''):>{width}} ", "dim")
        blocks = (_EIGHTHS[min(8, max(0, eighth - (row - 1) * 8))] for eighth in eighths)
        chart.append("".join(block * (_COLUMN - 1) + " " for block in blocks).rstrip() + "\n", "cyan")
    shown = "".join(f"{label:<{4 * _COLUMN}}" for label in labels[::4])
    return chart.append(f"  {'':>{width}} {shown.rstrip()}\n", "dim")
