"""Help and documentation: an undocumented command fails here, and so does an example that is none."""

import re
import shlex
from collections.abc import Iterator

import pytest
from cyclopts import App

from gatewaydb import __version__
from gatewaydb.cli.app import app
from tests.acceptance.conftest import ROOT, Run

PAGES = sorted((ROOT / "docs").glob("*.md"))


def commands(group: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Every command, with the words that call it."""
    for name in group:
        if not name.startswith("-"):
            command = group[name]
            inner = list(commands(command, (*path, name)))
            yield from inner or [((*path, name), command)]


COMMANDS = dict(commands(app))


def test_the_command_has_what_the_design_names() -> None:
    groups = {
        "keys": "create list show update disable enable delete set-metadata delete-metadata",
        "models": "import search show list cost",
        "aliases": "create list show update enable disable delete set-tag delete-tag",
        "providers": "create list show update enable disable delete set-credentials rotate-credentials new-key",
        "usage": "import list totals",
        "summaries": "show refresh",
    }
    named = {(group, name) for group, names in groups.items() for name in names.split()}
    assert COMMANDS.keys() >= named | {("init",), ("migrate",), ("status",), ("stats",), ("demo",)}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert re.search(rf"^gatewaydb {' '.join(path)}\b", page, re.MULTILINE), "add it to docs/cli.md"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_examples_and_common_options(run: Run, path: tuple[str, ...]) -> None:
    helped = run(*path, "--help")
    assert (helped.code, helped.err) == (0, "")
    assert f"gatewaydb {' '.join(path)}" in helped.out.partition("Examples:")[2]
    assert "--database" in helped.out
    assert "--json" in helped.out


def examples() -> list[str]:
    """What help pages and documentation show."""
    in_help = [line for command in COMMANDS.values() for line in str(command.help_epilogue).splitlines()[1:]]
    in_pages = [
        line
        for page in PAGES
        for block in re.findall(r"```(?:bash|console|sh)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
    ]
    return [line.strip() for line in in_help + in_pages if line.strip().startswith("gatewaydb ")]


@pytest.mark.parametrize("line", sorted(set(examples())))
def test_every_example_is_one(line: str) -> None:
    words = shlex.split(line, comments=True)
    end = next((place for place, word in enumerate(words) if word in ("|", "<", ">", "&&")), len(words))
    if words[1:end] and words[1] != "--help" and "COMMAND" not in words:
        command, bound, _ = app.parse_args(words[1:end], exit_on_error=False, print_error=False)
        assert bound.arguments is not None
        assert command in {found.default_command for found in COMMANDS.values()}


def test_examples_fit_a_wide_terminal() -> None:
    assert [line for line in examples() if len(line) > 120] == []


def test_version(run: Run) -> None:
    assert run("--version").out.strip() == __version__


def test_no_command_is_help(run: Run) -> None:
    assert "keys" in run().out
    assert "set-metadata" in run("keys").out
