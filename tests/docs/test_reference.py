"""What the pages state as facts is so: settings, limits, errors, guarantees, links and commands."""

import ast
import dataclasses
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from gatewaydb import (
    CacheStats,
    ChangeFeedStats,
    Database,
    DatabaseConfig,
    DatabaseStats,
    GatewayDBError,
    RecorderStats,
    config,
    errors,
)
from gatewaydb.cli.app import app
from gatewaydb.config import ENVIRONMENT
from gatewaydb.prometheus import DatabaseCollector
from tests.docs.pages import PAGES, ROOT, Block, blocks

DOCS = ROOT / "docs"
DECISIONS = DOCS / "decisions"
WRITTEN = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DECISIONS.glob("*.md"))]
COMMANDS = [block for page in PAGES for block in blocks(page, "bash")]
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type)}


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _table(page: Path, head: str) -> list[list[str]]:
    """The cells, without backticks, of all tables of the page that begin with this cell."""
    tables = _text(page).split(f"\n| {head} |")[1:]
    lines = [line for table in tables for line in table.split("\n\n")[0].splitlines()[2:]]
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]


def test_configuration_lists_every_setting_with_its_default_and_variable() -> None:
    rows = _table(DOCS / "configuration.md", "setting")
    defaults = {setting: default for setting, default, _, _ in rows}
    fields = dataclasses.fields(DatabaseConfig)
    assert [row[0] for row in rows] == [field.name for field in fields]
    assert [ENVIRONMENT[row[2]] for row in rows] == [row[0] for row in rows]
    assert {name for name in defaults if defaults[name] == "none"} == {f.name for f in fields if f.default is None}
    stated: dict[str, Any] = {name: default for name, default in defaults.items() if default != "none"}
    assert DatabaseConfig(**stated) == DatabaseConfig()


def test_configuration_lists_every_limit() -> None:
    listed = {name: int(value.replace(",", "")) for name, value, _ in _table(DOCS / "configuration.md", "limit")}
    assert listed == {name: value for name, value in vars(config).items() if name.isupper() and isinstance(value, int)}


def test_errors_page_draws_the_tree() -> None:
    [tree] = blocks(DOCS / "errors.md", "text")
    drawn = re.findall(r"^(\W*)(\w+)", tree.code, re.MULTILINE)
    ancestors: list[str] = []
    for indent, name in drawn:
        ancestors = [*ancestors[: len(indent) // 4], name]
        lineage = [kind.__name__ for kind in getattr(errors, name).__mro__ if issubclass(kind, GatewayDBError)]
        assert ancestors == lineage[::-1]
    assert {name for _, name in drawn} == ERRORS


def test_errors_page_explains_every_error() -> None:
    first_cells = " ".join(row[0] for row in _table(DOCS / "errors.md", "error"))
    assert set(re.findall(r"\w+", first_cells)) == ERRORS


def test_monitoring_lists_every_metric() -> None:
    rows = _table(DOCS / "monitoring.md", "metric")
    collected = DatabaseCollector(Database("sqlite://")).describe()
    metrics = {f"{family.name}_total" if family.type == "counter" else family.name: family for family in collected}
    info = metrics.pop("gatewaydb")
    assert [(name, kind, set(re.findall(r"\w+", labels)) - {"none"}, text) for name, kind, labels, _, text in rows] == [
        (name, family.type, set(family._labelnames), family.documentation) for name, family in metrics.items()
    ]
    written = set(re.findall(r"gatewaydb_\w+", _text(DOCS / "monitoring.md")))
    assert written == {*metrics, f"{info.name}_info"}


def test_monitoring_lists_every_field() -> None:
    fields = {*DatabaseStats.__struct_fields__, *CacheStats.__struct_fields__}
    fields |= {*ChangeFeedStats.__struct_fields__, *RecorderStats.__struct_fields__}
    assert fields - set(re.findall(r"`(\w+)`", _text(DOCS / "monitoring.md"))) == set()


def test_environment_blocks_are_accepted() -> None:
    for block in COMMANDS:
        settings = dict(line.split("=", 1) for line in block.code.splitlines() if re.match(r"[A-Z_]+=", line))
        assert settings.keys() <= ENVIRONMENT.keys(), f"{block.page}:{block.line}"
        DatabaseConfig.from_env(settings)


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: f"{block.page.stem}:{block.line}")
def test_commands_in_blocks_are_taken_by_the_command(block: Block) -> None:
    for line in block.code.replace("\\\n", " ").splitlines():
        if line.startswith("gatewaydb "):
            words = shlex.split(re.split(r" (?:[|<>]|&&) ?", line)[0], comments=True)
            app.parse_args(words[1:], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_prose_exist(page: Path) -> None:
    for words in re.findall(r"`gatewaydb ((?:[a-z][a-z-]* ?)+)", _text(page)):
        *_, unknown = app.parse_commands(words.split())
        assert unknown == [], f"gatewaydb {words}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "\n| guarantee |" in _text(page)], ids=lambda page: page.stem
)
def test_every_guarantee_names_a_test_that_exists(page: Path) -> None:
    rows = _table(page, "guarantee")
    assert rows
    for sentence, test in rows:
        path, _, name = test.partition("::")
        assert name in _tests_in(ROOT / path), f"{sentence} {test}"


def _tests_in(path: Path) -> set[str]:
    """`test_name`, `TestClass::test_name`, and `TestMachine` where Hypothesis made one."""
    found: set[str] = set()
    for node in ast.parse(_text(path)).body if path.exists() else []:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name, body=body):
                found |= {
                    f"{name}::{item.name}" for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
    return {name for name in found if name.lower().startswith("test")}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", _text(page), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose) if "://" not in link]
    assert [link for link in links if not (page.parent / unquote(link)).exists()] == []


def test_index_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((\w+\.md)\)", _text(DOCS / "index.md")))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    wanted = {re.split(r"[>;]", item)[0] for group in groups for item in group if isinstance(item, str)}
    rows = [row for record in DECISIONS.glob("*dependencies.md") for row in _table(record, "package")]
    assert {name for row in rows for name in row[0].split(", ")} == wanted


def test_every_decision_is_listed_and_whole() -> None:
    records = sorted(path.name for path in DECISIONS.glob("[0-9]*.md"))
    assert records == re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", _text(DECISIONS / "README.md"))
    for record in records:
        parts = re.findall(r"^\*\*(\w+)[.:]\*\*", _text(DECISIONS / record), re.MULTILINE)
        assert parts == ["Status", "Context", "Decision", "Consequences", "Rejected"], record
