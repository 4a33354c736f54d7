"""Values that cannot change: a cached entity is handed out as it is, so nothing in it may be writable."""

from collections.abc import Mapping
from typing import Any, NoReturn

# The concrete type first: asking for the abstract one costs ten times as much, and every record comes through here.
MAPPING = (dict, Mapping)
_SCALAR, _SEQUENCE = (str, int, float), (list, tuple)


class FrozenDict(dict[str, Any]):
    """A dict that is read, compared, printed and encoded as one, and refuses every change with a TypeError."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this mapping is immutable: it may be shared through the cache")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)

    def __copy__(self) -> "FrozenDict":
        return self

    def __deepcopy__(self, _: Any) -> "FrozenDict":
        return self


EMPTY = FrozenDict()
_ATOMS = (str, int, float)


def frozen(value: Any) -> Any:
    """The same JSON-like value with mappings as FrozenDict and lists as tuples, all the way down."""
    if value is None or isinstance(value, _SCALAR):
        return value
    if isinstance(value, MAPPING):
        return FrozenDict({key: frozen(item) for key, item in value.items()}) if value else EMPTY
    if isinstance(value, _SEQUENCE):
        return tuple(frozen(item) for item in value)
    return value
