"""What other libraries answered for fixed usages at a fixed time, and what we answer."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from gatewaydb.pricing import BillableUsage, Cost, PriceSheet
from tests.unit.pricing.conftest import catalog_entries, catalog_sheet

DATA = Path(__file__).parents[2] / "data"
COUNTS = {
    "prompt": "input_tokens",
    "completion": "output_tokens",
    "cached": "cache_read_tokens",
    "write": "cache_write_tokens",
    "write_1h": "cache_write_1h_tokens",
    "reasoning": "reasoning_tokens",
    "audio_in": "audio_input_tokens",
    "audio_out": "audio_output_tokens",
    "image_in": "image_input_tokens",
    "image_out": "image_output_tokens",
}  # `write_5m` is what is left of `write`


@dataclass
class Row:
    """One question, their answer and ours. Of genai-prices also: their answers to the same at standard prices,
    and to 1000 tokens in and 500 out."""

    model: str
    provider: str
    key: str
    usage_name: str
    counts: dict[str, int]
    service_tier: str | None
    batch: bool
    at: datetime
    input: Decimal
    output: Decimal
    at_standard: "Row | None" = None
    plain: "Row | None" = None

    @property
    def entry(self) -> dict[str, Any]:
        return catalog_entries()[self.model]

    @property
    def sheet(self) -> PriceSheet:
        return catalog_sheet(self.model)

    @property
    def usage(self) -> BillableUsage:
        counts: dict[str, Any] = {COUNTS[name]: count for name, count in self.counts.items() if name in COUNTS}
        return BillableUsage(**counts)

    @property
    def total(self) -> Decimal:
        return self.input + self.output

    @cached_property
    def ours(self) -> Cost:
        return self.sheet.cost_of(self.usage, service_tier=self.service_tier, batch=self.batch, at=self.at)

    @cached_property
    def ours_at_standard(self) -> Cost:
        return self.sheet.cost_of(self.usage, at=self.at)

    @property
    def is_in_catalog(self) -> bool:
        return self.model in catalog_entries()

    @property
    def agrees(self) -> bool:
        return self.is_in_catalog and same(self.ours.input, self.input) and same(self.ours.output, self.output)

    def __str__(self) -> str:
        mode = "batch" if self.batch else self.service_tier or "standard"
        ours = f"{self.ours.input} + {self.ours.output}"
        return f"{self.model} ({self.provider}) {self.usage_name} {mode}: {self.input} + {self.output}, ours {ours}"


def same(ours: Decimal, theirs: Decimal) -> bool:
    """Within 1e-9 of each other, relatively: what sums of floats may be off by."""
    return abs(ours - theirs) <= Decimal("1e-9") * abs(theirs) + Decimal("1e-18")


def litellm_rows() -> Iterator[Row]:
    for row in _read("litellm_oracle.jsonl.gz"):
        yield Row(
            model=row["model"],
            provider=row["provider"],
            key=row["resolved_key"],
            usage_name=row["usage_name"],
            counts=row["usage"],
            service_tier=row["service_tier"],
            batch=row["call_type"] == "retrieve_batch",
            at=datetime.fromisoformat(row["at"]),
            input=Decimal(row["prompt_cost"]),
            output=Decimal(row["completion_cost"]),
        )


def genai_rows() -> list[Row]:
    rows = [_genai_row(row, row["context"] or {}) for row in _read("genai_oracle.jsonl.gz")]
    standard = {(row.model, row.key, row.usage_name): row for row in rows if not row.batch and row.service_tier is None}
    for row in rows:
        row.at_standard = standard[row.model, row.key, row.usage_name]
        row.plain = standard[row.model, row.key, "plain_1000_500"]
    return rows


def _genai_row(row: dict[str, Any], context: dict[str, str]) -> Row:
    return Row(
        model=row["model"],
        provider=row["provider"],
        key=f"{row['genai_provider']}:{row['genai_ref']}",
        usage_name=row["usage_name"],
        counts=row["usage"],
        service_tier=context.get("service_tier"),
        batch=context.get("processing") == "batch",
        at=datetime.fromisoformat(row["at"]),
        input=Decimal(row["input_price"]),
        output=Decimal(row["output_price"]),
    )


def _read(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / name, "rt") as lines:
        yield from map(json.loads, lines)
