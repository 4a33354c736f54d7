"""From what providers report to a BillableUsage: one function for each provider, and one that finds it by name."""

from collections.abc import Callable, Mapping
from typing import Any

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.adapters.anthropic import anthropic_message_of, anthropic_usage
from gatewaydb.pricing.adapters.bedrock import bedrock_usage
from gatewaydb.pricing.adapters.cohere import cohere_usage
from gatewaydb.pricing.adapters.gemini import gemini_usage
from gatewaydb.pricing.adapters.openai import openai_usage
from gatewaydb.pricing.adapters.xai import xai_usage
from gatewaydb.pricing.usage import BillableUsage

__all__ = [
    "ADAPTERS",
    "anthropic_message_of",
    "anthropic_usage",
    "bedrock_usage",
    "billable_usage",
    "cohere_usage",
    "gemini_usage",
    "openai_usage",
    "xai_usage",
]

ADAPTERS: Mapping[str, Callable[[Mapping[str, Any]], BillableUsage]] = {
    "anthropic": anthropic_usage,
    "azure": openai_usage,
    "bedrock": bedrock_usage,
    "bedrock_converse": bedrock_usage,
    "cohere": cohere_usage,
    "cohere_chat": cohere_usage,
    "gemini": gemini_usage,
    "openai": openai_usage,
    "text-completion-openai": openai_usage,
    "vertex_ai": gemini_usage,
    "vertex_ai-anthropic_models": anthropic_usage,
    "vertex_ai-language-models": gemini_usage,
    "xai": xai_usage,
}
"""By provider, in LiteLLM's words, as in `Model.litellm_provider`."""


def billable_usage(provider: str | None, response: Mapping[str, Any]) -> BillableUsage:
    """What a provider's response says was used.

    `provider` is a name of `ADAPTERS`; `response` the decoded JSON body, whole, as tiers and searches stand outside
    of its usage, or the last event of a stream. Where only the usage is at hand, wrap it: `{"usage": usage}`
    (`usageMetadata` for Gemini). Numbers may be int, float or Decimal.
    InvalidValueError for an unknown provider, a response without usage and impossible numbers, naming the field.
    """
    adapter = ADAPTERS.get(provider or "")
    if adapter is None:
        raise InvalidValueError(f"provider: {provider!r} has no adapter; known are {', '.join(ADAPTERS)}")
    return adapter(response)
