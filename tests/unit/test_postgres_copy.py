"""Rows on their way to COPY. That PostgreSQL reads them as they were is proven by loads, with any text."""

import asyncio
from collections.abc import Iterator

from gatewaydb.engines.postgres_copy import csv_blocks


async def test_a_row_is_a_line_and_control_characters_stand_as_they_are() -> None:
    rows = [(1, None, "null", 'say "hi"'), (2, True, "a\\b", "tab\tand\x01")]
    [block] = [block async for block in csv_blocks(iter(rows))]
    assert block == b'1,null,"null","say \\"hi\\""\n2,true,"a\\\\b","tab\tand\x01"\n'


async def test_other_tasks_run_between_the_blocks() -> None:
    made = 0

    def rows() -> Iterator[tuple[int]]:
        nonlocal made
        for made in range(1, 1_001):
            yield (made,)

    async def look() -> set[int]:
        seen = set()
        while made < 1_000:
            seen.add(made)
            await asyncio.sleep(0)
        return seen

    looking = asyncio.create_task(look())
    lines = b"".join([block async for block in csv_blocks(rows())])
    assert lines.count(b"\n") == 1_000
    assert len(await looking) >= 5
