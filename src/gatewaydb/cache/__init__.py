"""The cache: values with a TTL, under LRU or SIEVE, and reading through them. It knows neither nouns nor SQL."""

from gatewaydb.cache.base import Cache, CacheStats
from gatewaydb.cache.lru import LRUCache
from gatewaydb.cache.memory import Memory
from gatewaydb.cache.read_through import Loader, ReadThrough, Uncached
from gatewaydb.cache.sieve import SieveCache

__all__ = ["Cache", "CacheStats", "LRUCache", "Loader", "Memory", "ReadThrough", "SieveCache", "Uncached"]
