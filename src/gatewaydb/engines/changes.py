"""What a write changed, on its way to the caches.

A repository says what it changed inside `with executor.changing(noun) as keys`. Outside a transaction the change is
published when the block ends, inside one when the outermost transaction has committed, and never after a rollback.
Where nobody can know whether the database took the write (a cancelled call, a lost connection), it counts as one:
forgetting too much is only slow.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gatewaydb.errors import DatabaseUnavailableError, QueryTimeoutError

UNCERTAIN = (asyncio.CancelledError, DatabaseUnavailableError, QueryTimeoutError)
"""After these, a write may or may not have happened, unless they are `NotSent`."""


class NotSent:
    """Marks an error that came before anything reached the database: what it had changed is nothing."""


class NotConnectedError(NotSent, DatabaseUnavailableError):
    """There was no connection to be had."""


class NoneFreeError(NotSent, QueryTimeoutError):
    """Others held all connections for too long."""


class Change(NamedTuple):
    """The keys of one noun that changed; None: perhaps all of them."""

    noun: str
    keys: frozenset[str] | None


class ChangeFeed:
    """Carries changes to whoever caches the noun. When `publish` returns, no cache holds what was before."""

    def __init__(self) -> None:
        self._handlers: defaultdict[str, list[Callable[[frozenset[str] | None], None]]] = defaultdict(list)

    def subscribe(self, noun: str, handler: Callable[[frozenset[str] | None], None]) -> None:
        """Call `handler` with the changed keys of `noun` (None: all) from now on."""
        self._handlers[noun].append(handler)

    def publish_all(self) -> None:
        """Tell every handler that anything may have changed."""
        self.publish([Change(noun, None) for noun in self._handlers])

    def publish(self, changes: Iterable[Change]) -> None:
        """Tell every handler, in the order in which things changed."""
        for change in changes:
            for handler in self._handlers[change.noun]:
                handler(change.keys)


@contextmanager
def publishing(publish: Callable[[Iterable[Change]], None], noun: str) -> Iterator[set[str]]:
    """Collects keys while a write runs, and publishes them when it is, or may be, done.

    A write adds all of its keys at once: those of one that may be done and has added none could be any.
    """
    keys: set[str] = set()
    try:
        yield keys
    except UNCERTAIN as error:
        if isinstance(error, NotSent):
            raise
        publish([Change(noun, frozenset(keys) or None)])
        raise
    publish([Change(noun, frozenset(keys))])
