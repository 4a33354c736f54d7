"""Ranks names against a text that a person typed, with typing errors. Pure.

Both engines rank with this; they differ only in how they choose the candidates. A text and a name are split into words;
each word of the text takes its best match among the words of the name, and words that match badly count for little.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

MINIMUM_SCORE = 0.55
_WORD = re.compile(r"[a-z]+|\d+")
_SHORTLIST = 300


def rank(text: str, names: Iterable[str], limit: int) -> list[str]:
    """At most `limit` of the names, best first; names that have little to do with the text are left out."""
    query = text.strip().lower()
    if not query:
        return []
    short = process.extract(query, list(names), scorer=fuzz.WRatio, processor=str.lower, limit=_SHORTLIST)
    scored = [(score(query, name), name) for name, _, _ in short]
    good = [(points, name) for points, name in scored if points >= MINIMUM_SCORE]
    return [name for _, name in sorted(good, key=lambda pair: (-pair[0], len(pair[1]), pair[1]))[:limit]]


def score(query: str, name: str) -> float:
    """1.0 for the very name, above 0.9 where every word is there, less with each typing error and each extra word."""
    lowered = name.lower()
    if query == lowered:
        return 1.0
    wanted, given = _words(query), _words(lowered)
    if not wanted or not given:
        return OSA.normalized_similarity(query, lowered) * 0.9
    weights = [len(word) for word in wanted]
    matches = [max(_similarity(word, other) for other in given) for word in wanted]
    matched = sum(weight * match for weight, match in zip(weights, matches, strict=True)) / sum(weights)
    # Among names that match alike the one with the least besides comes first, and one that begins alike.
    brevity = min(len(query) / len(lowered), 1.0)
    begins = lowered.startswith(query[:3])
    return matched * 0.93 + brevity * 0.04 + begins * 0.02


@lru_cache(maxsize=16384)
def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text))


def _similarity(word: str, other: str) -> float:
    if word == other:
        return 1.0
    if word.isdigit() or other.isdigit():
        return 0.0
    # What has been typed so far may be the beginning of a word.
    prefix = 0.95 if other.startswith(word) else 0.0
    similarity = OSA.normalized_similarity(word, other)
    return max(prefix, similarity if similarity >= 0.6 else similarity * 0.5)
