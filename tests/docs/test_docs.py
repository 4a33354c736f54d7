"""Every page that shows code is run, line by line, on a fresh database of each engine."""

import ast
import codeop
from pathlib import Path

import pytest

from tests.conftest import ENCRYPTION_KEY
from tests.docs.pages import PAGES, ROOT, blocks, run_page

RUNNABLE = pytest.mark.parametrize(
    "page", [page for page in PAGES if any(blocks(page, "python"))], ids=lambda page: page.stem
)


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the pages say is set."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("GATEWAYDB_ENCRYPTION_KEYS", ENCRYPTION_KEY)
    monkeypatch.chdir(tmp_path)


@RUNNABLE
@pytest.mark.usefixtures("environment")
async def test_page_runs_and_prints_what_it_shows(page: Path) -> None:
    await run_page(page)


@RUNNABLE
def test_code_can_be_pasted_into_the_asyncio_prompt(page: Path) -> None:
    compiled = codeop.CommandCompiler()
    compiled.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for block in blocks(page, "python"):
        entered: list[str] = []
        for number, line in enumerate([*block.code.splitlines(), ""], block.line):
            entered.append(line)
            try:
                is_whole = compiled("\n".join(entered), symbol="single") is not None
            except SyntaxError as error:
                pytest.fail(f"{page}:{number}: {error.msg}, at the prompt; a blank line ends a compound statement")
            entered = [] if is_whole else entered


GUIDE = """\
Quick Start
1. Initialize Database Connection
2. Using Repositories
API Key Repository
Model Repository
Usage Tracking
Monthly Summaries
Caching Behavior
Cache-Aside Pattern
Cache Configuration
Cache Eviction
Monitoring
Database Statistics
Best Practices
1. Connection Pooling
2. Context Timeouts
3. Transaction Usage
4. Cache Invalidation
5. Pagination
Performance Characteristics
Latency Goals
Throughput
Memory Usage
Error Handling
Utilities
"""


def test_guide_has_every_heading_of_the_go_package_in_order() -> None:
    lines = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8").splitlines()
    assert [line.lstrip("# ") for line in lines if line.startswith("##")] == GUIDE.splitlines()
