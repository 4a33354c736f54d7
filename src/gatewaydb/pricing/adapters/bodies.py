"""Decoded JSON bodies, read with care: a null is nothing, and what is impossible is refused by its path."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from gatewaydb.errors import InvalidValueError
from gatewaydb.pricing.usage import COUNT_MAX


class Part:
    """An object in a response body, and its path. Fields that nobody asks for are ignored."""

    __slots__ = ("_path", "_values")

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path

    @classmethod
    def of(cls, response: object) -> "Part":
        """The whole body; InvalidValueError if it is no object."""
        return cls(_mapping(response, "the response"))

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def items(self) -> Iterator[tuple[str, Any]]:
        """The fields that are not null."""
        return ((name, value) for name, value in self._values.items() if value is not None)

    def part(self, *names: str) -> "Part":
        """The object of the first of these names that is there; an empty one if none is."""
        name = self._first(names) or names[0]
        values, at = self._values.get(name), self._at(name)
        return Part({} if values is None else _mapping(values, at), at)

    def required(self, name: str) -> "Part":
        """The object of this name; InvalidValueError if it is not there: what was used is unknown, which is not 0."""
        if not self.has(name):
            raise InvalidValueError(f"{self._at(name)}: missing; the response does not say what was used")
        return self.part(name)

    def inner(self, name: str) -> "Part":
        """The object of this name if there is one, as where a stream's event wraps the body; else this one."""
        return self.part(name) if isinstance(self._values.get(name), Mapping) else self

    def parts(self, name: str) -> list["Part"]:
        """The objects of a list."""
        return [Part(_mapping(value, at), at) for at, value in self._list(name)]

    def texts(self, name: str) -> list[str]:
        """The texts of a list."""
        return [_text(value, at) for at, value in self._list(name)]

    def text(self, name: str) -> str | None:
        return _text(self._values[name], self._at(name)) if self.has(name) else None

    def count(self, *names: str) -> int:
        """The whole number under the first of these names that is there; 0 if none is. JSON's 5.0 is 5."""
        number = self._number(names)
        if number == int(number):
            return int(number)
        raise InvalidValueError(f"{self._at(self._first(names))}: must be a whole number, not {number}")

    def amount(self, name: str) -> int | Decimal:
        """A number that may have a fraction; a float is what its shortest text says."""
        return self._number((name,))

    def expect_any(self, *names: str) -> None:
        """InvalidValueError if none of these is there: this is not the usage of that provider."""
        if not self._first(names):
            raise InvalidValueError(f"{self._path}: has none of {', '.join(names)}")

    def _number(self, names: tuple[str, ...]) -> int | Decimal:
        name = self._first(names)
        value = self._values[name] if name else 0
        if isinstance(value, float):
            value = Decimal(str(value))
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise InvalidValueError(f"{self._at(name)}: must be a number, not {type(value).__name__}")
        if (isinstance(value, Decimal) and not value.is_finite()) or not 0 <= value <= COUNT_MAX:
            raise InvalidValueError(f"{self._at(name)}: must be 0 to {COUNT_MAX}, not {Decimal(value):g}")
        return value

    def _list(self, name: str) -> Iterator[tuple[str, Any]]:
        values = self._values.get(name)
        if not isinstance(values, (list, tuple, type(None))):
            raise InvalidValueError(f"{self._at(name)}: must be a list, not {type(values).__name__}")
        return ((f"{self._at(name)}[{i}]", value) for i, value in enumerate(values or ()) if value is not None)

    def _first(self, names: tuple[str, ...]) -> str:
        return next(filter(self.has, names), "")

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def _mapping(value: object, at: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{at}: must be an object, not {type(value).__name__}")
    return value


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"{at}: must be text, not {type(value).__name__}")
    return value
