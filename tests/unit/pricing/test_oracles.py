"""Over 90,000 answers of two other libraries: every disagreement has a name, a reason and an expiry date."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.unit.pricing.oracle_exceptions import GENAI, LITELLM, OracleException
from tests.unit.pricing.oracle_rows import Row, genai_rows, litellm_rows

SHOWN = 20
PAGE = Path(__file__).parents[3] / "docs" / "pricing.md"


def check(rows: Iterable[Row], exceptions: Sequence[OracleException]) -> None:
    """Fails, with the share of each exception, for what none explains, an exception of nothing and an untrue page."""
    found: Counter[str] = Counter()
    unexplained: list[str] = []
    total = 0
    for row in rows:
        total += 1
        if row.agrees:
            continue
        name = next((exception.name for exception in exceptions if exception.holds(row)), None)
        if name is None:
            unexplained.append(str(row))
        else:
            found[name] += 1
    shares = [f"| {e.name} | {100 * found[e.name] / total:.2f} % | {e.right} |" for e in exceptions]
    message = "\n".join([f"{total} rows, {len(unexplained)} unexplained:", *unexplained[:SHOWN], *shares])
    today = datetime.now(UTC).date()
    assert not unexplained, message
    assert not [e.name for e in exceptions if not found[e.name]], f"exceptions of nothing\n{message}"
    assert not [e.name for e in exceptions if e.expires < today], f"expired: check their reasons again\n{message}"
    page = PAGE.read_text(encoding="utf-8")
    assert not [share for share in [f"{total:,} rows", *shares] if share not in page], f"not in {PAGE.name}\n{message}"


def test_every_disagreement_with_litellm_is_explained() -> None:
    check(litellm_rows(), LITELLM)


def test_every_disagreement_with_genai_prices_is_explained() -> None:
    check(genai_rows(), GENAI)
