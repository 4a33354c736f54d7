"""The cache: an exact LRU with a TTL, and reading through it. It knows neither nouns nor SQL."""

from gatewaydb.cache.lru import CacheStats, LRUCache
from gatewaydb.cache.read_through import ReadThrough, Uncached

__all__ = ["CacheStats", "LRUCache", "ReadThrough", "Uncached"]
