"""Loads the statements of `sql/*.sql` for one dialect.

A statement stands under a header, `-- name: model_search @postgres [point]`, and a sentence that describes it. Without
`@dialect` it serves both engines. `[point]` promises that it touches a few rows through a unique index, `[report]` that
a replica's answer, which may be some moments old, is as good. Parameters are written `:name`. `-- fragment: columns`
names a piece that `{columns}` pastes. A statement that one dialect lacks is refused when it is loaded, not
when it is first run.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, Literal, NamedTuple

from gatewaydb.errors import InvalidValueError

Dialect = Literal["sqlite", "postgres"]
DIALECTS: tuple[Dialect, ...] = ("sqlite", "postgres")

_HEADER = re.compile(r"^-- (name|fragment): (\w+)(?: @(sqlite|postgres))?(?: \[(point|report)\])?$", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)\b")
_COPY = re.compile(r"COPY (\w+) \(([^)]*)\) FROM STDIN")
_FRAGMENT = re.compile(r"\{(\w+)\}")


class Statement(NamedTuple):
    """One statement in one dialect, with its parameters in the order of their placeholders."""

    name: str
    description: str
    sql: str
    parameters: tuple[str, ...]
    is_point: bool
    is_report: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.sql.startswith("SELECT")

    @property
    def steps(self) -> "list[Statement]":
        """The statements of which it is made: several, where SQLite needs that to load many rows."""
        names = iter(self.parameters)
        return [
            self._replace(sql=sql, parameters=tuple(islice(names, sql.count("?")))) for sql in self.sql.split(";\n")
        ]

    @property
    def copied(self) -> tuple[str, list[str]]:
        """The table and the columns of a COPY."""
        table, columns = _COPY.match(self.sql).groups()  # type: ignore[union-attr]
        return table, columns.replace(",", " ").split()

    def bind(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in placeholder order; one dialect's variant may do without some of them."""
        return [values[name] for name in self.parameters]


class _Piece(NamedTuple):
    kind: str
    name: str
    dialect: str | None
    promise: str | None
    text: str


@cache
def load_statements(dialect: Dialect) -> Mapping[str, Statement]:
    """Every statement of the package, by name, in this dialect."""
    pieces = [piece for text in _sources() for piece in _pieces(text)]
    fragments = {piece.name: piece.text for piece in pieces if piece.kind == "fragment" and _serves(piece, dialect)}
    statements = {
        piece.name: _compile(piece, fragments, dialect)
        for piece in pieces
        if piece.kind == "name" and _serves(piece, dialect)
    }
    lacking = {piece.name for piece in pieces if piece.kind == "name"} - statements.keys()
    if lacking:
        raise InvalidValueError(f"statements that {dialect} lacks: {', '.join(sorted(lacking))}")
    return statements


def _sources() -> list[str]:
    folder = resources.files("gatewaydb.sql")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


def _pieces(text: str) -> list[_Piece]:
    headers = list(_HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    return [
        _Piece(header[1], header[2], header[3], header[4], text[header.end() : end])
        for header, end in zip(headers, ends, strict=True)
    ]


def _serves(piece: _Piece, dialect: Dialect) -> bool:
    return piece.dialect in (None, dialect)


def _pasted(text: str, fragments: Mapping[str, str]) -> str:
    return _FRAGMENT.sub(lambda match: _pasted(fragments[match[1]].strip(), fragments), text)


def _compile(piece: _Piece, fragments: Mapping[str, str], dialect: Dialect) -> Statement:
    lines = _pasted(piece.text, fragments).strip().splitlines()
    description = " ".join(line.removeprefix("--").strip() for line in lines if line.lstrip().startswith("--"))
    body = "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip().removesuffix(";")
    names = _PARAMETER.findall(body)
    is_point, is_report = piece.promise == "point", piece.promise == "report"
    if is_report and not body.startswith("SELECT"):
        raise InvalidValueError(f"{piece.name} is no report: it does not only read")
    if dialect == "sqlite":
        # Not `?1`, of which some releases of Python 3.12 warn: a value is bound as often as it is named.
        return Statement(piece.name, description, _PARAMETER.sub("?", body), tuple(names), is_point, is_report)
    numbers = {name: f"${number}" for number, name in enumerate(dict.fromkeys(names), 1)}
    sql = _PARAMETER.sub(lambda match: numbers[match[1]], body)
    return Statement(piece.name, description, sql, tuple(numbers), is_point, is_report)
