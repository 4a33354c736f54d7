"""Where we disagree with an oracle on purpose: the reason, who is right, and until when that was checked.

A disagreement belongs to the first exception that holds. Each one checks, as far as it can, that the other
answer comes about as its reason says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tests.unit.pricing.conftest import catalog_entries, catalog_sheet
from tests.unit.pricing.oracle_rows import Row, same

CHECKED_UNTIL = date(2027, 11, 30)
"""Catalogs and libraries move on: by then each reason is to be looked at again."""


@dataclass(frozen=True)
class OracleException:
    name: str
    reason: str
    right: str
    holds: Callable[[Row], bool]
    expires: date = CHECKED_UNTIL


def _has_batch_prices(row: Row) -> bool:
    return any(field.endswith("_batches") for field in row.entry)


def _is_cheaper_than_assumed(row: Row) -> bool:
    return bool(row.ours.assumed) and row.total < row.ours.total


def _is_half_or_nothing(output: Decimal, row: Row) -> bool:
    return row.output == 0 or same(output / 2, row.output)


def _is_flat(row: Row, model: str) -> bool:
    """Their answer is nothing but the model's standard prices times whole counts (halved, for a batch)."""
    entry, share = catalog_entries()[model], Decimal("0.5") if row.batch else Decimal(1)
    return same(share * Decimal(entry["input_cost_per_token"]) * row.usage.input_tokens, row.input) and same(
        share * Decimal(entry["output_cost_per_token"]) * row.usage.output_tokens, row.output
    )


def _is_of_the_shorter_key(row: Row) -> bool:
    shorter = row.model.partition("/")[2]
    if shorter not in catalog_entries():
        return False
    other = catalog_sheet(shorter).cost_of(row.usage, at=row.at)
    return same(other.total, row.total) or _is_flat(row, shorter)


LITELLM = (
    OracleException(
        "batch without batch prices",
        "LiteLLM halves the standard price (and leaves cache reads out where they have no price). No price list says "
        "so for these models: we take the standard price, and say that it is assumed.",
        "neither",
        lambda row: row.batch and not _has_batch_prices(row) and _is_cheaper_than_assumed(row),
    ),
    OracleException(
        "batch with some batch prices, cached",
        "The entry has no batch price for cache reads; LiteLLM bills them as new input at the batch price (its pull "
        "request 38341). A cache read stays a cache read: at its standard price, assumed.",
        "us",
        lambda row: (
            row.batch
            and "cached" in row.counts
            and "cache_read_input_token_cost" in row.entry
            and "cache_read_input_token_cost_batches" not in row.entry
        ),
    ),
    OracleException(
        "batch with some batch prices, long context",
        "The entry has a long-context price and a batch price, but none for both. LiteLLM drops the long context; we "
        "drop the batch, as with service tiers: the whole request is repriced, and the result says what was assumed.",
        "neither",
        lambda row: row.batch and row.usage.input_tokens > 100_000 and _is_cheaper_than_assumed(row),
    ),
    OracleException(
        "batch with some batch prices, no output price",
        "LiteLLM halves the output price, or bills none where all output is images; we take the listed price.",
        "neither",
        lambda row: row.batch and same(row.ours.input, row.input) and _is_half_or_nothing(row.ours.output, row),
    ),
    OracleException(
        "Fireworks, service tier",
        "LiteLLM's Fireworks calculator does not pass the service tier on, though the catalog lists its prices.",
        "us",
        lambda row: (
            row.provider == "fireworks_ai"
            and row.service_tier is not None
            and same(row.ours_at_standard.total, row.total)
        ),
    ),
    OracleException(
        "Perplexity, cached and long context",
        "LiteLLM's Perplexity calculator knows only the standard prices of input, output, reasoning and search.",
        "us",
        lambda row: row.provider == "perplexity" and not row.batch and _is_flat(row, row.model),
    ),
    OracleException(
        "another key",
        "LiteLLM looked the model up under its name without the provider's prefix and found another one.",
        "us",
        _is_of_the_shorter_key,
    ),
)


def _plain_ratios(row: Row) -> tuple[Decimal, ...]:
    """Their list prices of input and output over ours, where ours is not zero."""
    assert row.plain is not None
    pairs = ((row.plain.input, row.plain.ours.input), (row.plain.output, row.plain.ours.output))
    return tuple(theirs / ours for theirs, ours in pairs if ours)


def _has_other_list_price(row: Row) -> bool:
    return row.plain is not None and not row.plain.agrees


def _ignores_the_mode(row: Row) -> bool:
    has_mode = row.batch or row.service_tier is not None
    return has_mode and row.at_standard is not None and row.total == row.at_standard.total


GENAI = (
    OracleException(
        "not in the catalog",
        "genai-prices' own models under names that the catalog does not have: there is nothing of ours to compare.",
        "neither",
        lambda row: not row.is_in_catalog,
    ),
    OracleException(
        "Bedrock, 10 % for regional Claude",
        "The bare `anthropic.*` key means a regional endpoint, 10 % dearer; the catalog has the global price.",
        "genai-prices",
        lambda row: "claude" in row.model and set(_plain_ratios(row)) == {Decimal("1.1")},
    ),
    OracleException(
        "Databricks, DBU",
        "The catalog's prices are DBU times a rounded rate: they are off the price list by less than 0.1 %.",
        "genai-prices",
        lambda row: (
            row.provider == "databricks"
            and _has_other_list_price(row)
            and all(abs(ratio - 1) < Decimal("0.001") for ratio in _plain_ratios(row))
        ),
    ),
    OracleException(
        "another list price",
        "The two sources list another price for plain tokens (mostly regions); how it is applied is not the question.",
        "open",
        _has_other_list_price,
    ),
    OracleException(
        "no price for the mode in genai-prices",
        "genai-prices answers with or without the service tier or the batch alike; the catalog lists a price for it, "
        "or another for the standard.",
        "us",
        _ignores_the_mode,
    ),
    OracleException(
        "no price for the mode in the catalog",
        "genai-prices lists a price for the service tier or the batch, the catalog none: ours is marked as assumed.",
        "genai-prices",
        lambda row: (row.batch or row.service_tier is not None) and bool(row.ours.assumed),
    ),
    OracleException(
        "another cache price",
        "The two agree on plain tokens and list another price, or one lists none, for cache reads or writes.",
        "open",
        lambda row: "cached" in row.counts or "write" in row.counts,
    ),
    OracleException(
        "another long-context price",
        "The two agree on plain tokens, and one of them lists no long-context price for the model.",
        "open",
        lambda row: row.usage.input_tokens > 100_000,
    ),
    OracleException(
        "another audio price",
        "The two agree on plain tokens and list another price, or one lists none, for audio tokens.",
        "open",
        lambda row: "audio_in" in row.counts,
    ),
)
