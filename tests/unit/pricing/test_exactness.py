"""Costs against exact fractions, by a reference that looks prices up by field name."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewaydb.pricing import BillableUsage, PriceSheet, components_of

INPUT, OUTPUT = "input_cost_per_token", "output_cost_per_token"
WRITE = "cache_creation_input_token_cost"
FALLBACKS = {
    "text_input_tokens": (INPUT,),
    "cache_read_tokens": ("cache_read_input_token_cost", INPUT),
    "cache_write_tokens": (WRITE, INPUT),
    "cache_write_1h_tokens": (f"{WRITE}_above_1hr", WRITE, INPUT),
    "audio_input_tokens": ("input_cost_per_audio_token", INPUT),
    "text_output_tokens": (OUTPUT,),
    "reasoning_tokens": ("output_cost_per_reasoning_token", OUTPUT),
    "audio_output_tokens": ("output_cost_per_audio_token", OUTPUT),
}
BASES = sorted({base for bases in FALLBACKS.values() for base in bases})
THRESHOLDS = {"_above_200k_tokens": 200_000, "_above_128k_tokens": 128_000, "": -1}
MODES = ("", "_batches", "_flex")

prices = st.dictionaries(
    st.tuples(st.sampled_from(BASES), st.sampled_from(list(THRESHOLDS)), st.sampled_from(MODES)).map("".join),
    st.decimals(0, 10_000, allow_nan=False, places=12).map(abs),
    max_size=20,
)
counts = st.integers(0, 120_000)


@st.composite
def usages(draw: st.DrawFn) -> BillableUsage:
    text, read, write, hour, audio = (draw(counts) for _ in range(5))
    written, reasoning, spoken = (draw(counts) for _ in range(3))
    return BillableUsage(
        text + read + write + hour + audio,
        written + reasoning + spoken,
        cache_read_tokens=read,
        cache_write_tokens=write + hour,
        cache_write_1h_tokens=hour,
        audio_input_tokens=audio,
        reasoning_tokens=reasoning,
        audio_output_tokens=spoken,
    )


def parts(usage: BillableUsage) -> dict[str, int]:
    new = usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens - usage.audio_input_tokens
    return {
        "text_input_tokens": new,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "audio_input_tokens": usage.audio_input_tokens,
        "text_output_tokens": usage.output_tokens - usage.reasoning_tokens - usage.audio_output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "audio_output_tokens": usage.audio_output_tokens,
    }


def fields(item: str, tokens: int, mode: str) -> Iterator[str]:
    """The fields to look in, in order. Reasoning prefers any output price of its tier to a standard one."""
    bases = FALLBACKS[item]
    suffixes = [
        threshold + suffix
        for threshold, suffix in product(THRESHOLDS, dict.fromkeys((mode, "")))
        if tokens > THRESHOLDS[threshold]
    ]
    if item == "reasoning_tokens":
        yield from (base + suffix for suffix, base in product(suffixes, bases))
    else:
        yield from (base + suffix for base, suffix in product(bases, suffixes))


@settings(max_examples=500)
@given(prices, usages(), st.sampled_from(MODES))
def test_a_cost_is_the_exact_sum_of_its_parts(prices: dict[str, object], usage: BillableUsage, mode: str) -> None:
    expected, unpriced = Fraction(0), set()
    for item, count in parts(usage).items():
        price = next((prices[field] for field in fields(item, usage.input_tokens, mode) if field in prices), None)
        if price is not None:
            expected += count * Fraction(str(price))
        elif count:
            unpriced.add(item)
    tier = "flex" if mode == "_flex" else None
    cost = PriceSheet.of(prices).cost_of(usage, service_tier=tier, batch=mode == "_batches")
    assert Fraction(cost.total) == expected
    assert set(cost.unpriced) == unpriced
    assert cost.total == cost.input + cost.output == sum(line.amount for line in cost.lines)
    assert sum(line.count for line in cost.lines) + sum(parts(usage)[item] for item in unpriced) == (
        usage.input_tokens + usage.output_tokens
    )


@given(prices, st.integers(1, 300_000), st.integers(1, 300_000))
def test_the_short_way_for_plain_usages_says_what_the_long_way_says(
    prices: dict[str, object], input_tokens: int, output_tokens: int
) -> None:
    sheet, usage = PriceSheet.of(prices), BillableUsage(input_tokens, output_tokens)
    assert sheet.cost_of(usage) == sheet.cost_of(usage, service_tier="default")


@given(st.integers(1, 2**63 - 1), st.decimals(0, 999_999_999, places=50))
def test_no_digit_is_ever_rounded(count: int, price: object) -> None:
    total = PriceSheet.of({INPUT: str(price).lstrip("-")}).calculate_cost(count, 0)
    assert Fraction(total) == count * Fraction(str(price).lstrip("-"))


@given(prices)
def test_a_sheet_is_what_its_components_are(prices: dict[str, object]) -> None:
    assert PriceSheet.of(prices) == PriceSheet(components_of(prices, numbers_as_text=True))
