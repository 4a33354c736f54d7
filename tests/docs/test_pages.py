"""What runs the pages tells a wrong page from a right one."""

from pathlib import Path

import pytest

from tests.docs.pages import run_page


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def _write(page: Path, *blocks: str) -> None:
    code = "\n".join(f"```python\n{block}\n```\n\nProse.\n" for block in blocks)
    page.write_text(f"# A page\n\n{code}", encoding="utf-8")


async def test_blocks_share_names_and_await_at_the_top_level(page: Path) -> None:
    _write(page, "import asyncio\nx = 1", "await asyncio.sleep(0)\nprint(x)  # -> 1")
    await run_page(page)


async def test_output_may_stand_below_and_leave_parts_out(page: Path) -> None:
    _write(page, "for x in ('a', 12345):\n    print(x)\n# -> a\n# -> 1...5\ny = 0")
    await run_page(page)


WRONG = ["print(2)  # -> 1", "print(1)", "x = 1  # -> 1", "print(1)\nprint(2)  # -> 1\n# -> 2"]


@pytest.mark.parametrize("code", WRONG)
async def test_output_that_differs_fails_and_names_the_line(page: Path, code: str) -> None:
    _write(page, f"x = 0\n{code}")
    with pytest.raises(pytest.fail.Exception, match=r"page\.md:5: the page shows"):
        await run_page(page)


async def test_code_that_raises_fails_on_its_own_line(page: Path) -> None:
    _write(page, "x = 0", "x = 1\nx / 0")
    with pytest.raises(ZeroDivisionError) as raised:
        await run_page(page)
    assert (raised.traceback[-1].path, raised.traceback[-1].lineno + 1) == (page, 11)
