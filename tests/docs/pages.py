"""Reads the code blocks out of a documentation page and runs them as a user would, one statement after another.

What a statement prints stands beside or below it as `# -> text`, a comment for each line; `...` stands for any text. A
page is one program: its blocks share their names and one event loop, and `await` stands at the top level, as in
`python -m asyncio`. SQL blocks run in between, each on a connection of its own. A failure names the page and the line.
"""

import ast
import contextlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gatewaydb import Database

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(r"# -> (.*)$", re.MULTILINE)


class Block(NamedTuple):
    """One code block; `line` is the page's number of its first line of code."""

    page: Path
    line: int
    language: str
    code: str


class Statement(NamedTuple):
    """One statement, and the lines that the page says it prints."""

    page: Path
    line: int
    node: ast.stmt
    shown: list[str]


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The page's blocks in these languages, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        if match[1] in languages:
            yield Block(page, text.count("\n", 0, match.start(2)) + 1, match[1], match[2])


def statements(block: Block) -> Iterator[Statement]:
    """The statements of a Python block, numbered as in the page."""
    nodes = ast.parse(block.code, str(block.page)).body
    lines = block.code.splitlines()
    ends = [node.lineno - 1 for node in nodes[1:]] + [len(lines)]
    for node, end in zip(nodes, ends, strict=True):
        shown = _SHOWN.findall("\n".join(lines[node.lineno - 1 : end]))
        ast.increment_lineno(node, block.line - 1)
        yield Statement(block.page, node.lineno, node, shown)


async def run_page(page: Path) -> None:
    """Runs all blocks of a page; what they open is closed afterwards."""
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for block in blocks(page, "python", "sql"):
            if block.language == "sql":
                await _run_sql(block)
            else:
                for statement in statements(block):
                    _compare(statement, await _printed(statement, names))
    finally:
        for value in names.values():
            if isinstance(value, Database):
                await value.close()


async def _printed(statement: Statement, names: dict[str, Any]) -> list[str]:
    tree = ast.Module([statement.node], type_ignores=[])
    code = compile(tree, str(statement.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        running = eval(code, names)
        if inspect.iscoroutine(running):
            await running
    return output.getvalue().splitlines()


def _compare(statement: Statement, printed: list[str]) -> None:
    if len(printed) != len(statement.shown) or not all(map(_matches, statement.shown, printed)):
        difference = "\n  ".join(["the page shows", *statement.shown, "and this was printed:", *printed])
        pytest.fail(f"{statement.page}:{statement.line}: {difference}", pytrace=False)


def _matches(shown: str, printed: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), printed) is not None


async def _run_sql(block: Block) -> None:
    async with Database() as db, db.transaction() as tx:
        for sql in block.code.split(";\n"):
            if sql.strip():
                try:
                    await tx.fetch(sql)
                except Exception as error:
                    error.add_note(f"in the SQL of {block.page.name}:{block.line}")
                    raise
