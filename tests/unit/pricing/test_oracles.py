"""Over 90,000 answers of two other libraries: every disagreement has a name, a reason and an expiry date."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tests.unit.pricing.oracle_exceptions import GENAI, LITELLM, OracleException
from tests.unit.pricing.oracle_rows import Row, genai_rows, litellm_rows

SHOWN = 20


def check(rows: Iterable[Row], exceptions: Sequence[OracleException]) -> None:
    """Fails, with the share of each exception, for what none explains and for an exception of nothing."""
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
    shares = "\n".join(f"{100 * found[e.name] / total:7.3f} %  {e.name}: {e.right}" for e in exceptions)
    message = f"{total} rows, {len(unexplained)} unexplained:\n" + "\n".join(unexplained[:SHOWN]) + f"\n{shares}"
    today = datetime.now(UTC).date()
    assert not unexplained, message
    assert not [e.name for e in exceptions if not found[e.name]], f"exceptions of nothing\n{message}"
    assert not [e.name for e in exceptions if e.expires < today], f"expired: check their reasons again\n{message}"


def test_every_disagreement_with_litellm_is_explained() -> None:
    check(litellm_rows(), LITELLM)


def test_every_disagreement_with_genai_prices_is_explained() -> None:
    check(genai_rows(), GENAI)
