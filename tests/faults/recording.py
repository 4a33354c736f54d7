"""A process that records usage as fast as it can, to be killed at any moment."""

import asyncio
import contextlib
import itertools
import multiprocessing
import os
import random
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from gatewaydb import Database, DatabaseConfig, GatewayDBError, UsageRecord, UsageRecorder

KEYS = [UUID(int=number) for number in range(1, 4)]
TASKS = 20
ID_BYTES = 16

# It imports once, and each process that records is a fork of it.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])


@contextlib.contextmanager
def recording_process(url: str, journal: Path, acknowledged: Path) -> Iterator[None]:
    """Runs inside the block, and is killed with SIGKILL at its end. `acknowledged` gets the ids that are safe."""
    process = _FORKS.Process(target=_record, args=(url, journal, acknowledged))
    process.start()
    try:
        yield
        assert process.is_alive()
    finally:
        process.kill()
        process.join()
        process.close()


def ids_in(acknowledged: Path) -> set[UUID]:
    """What processes were told is safe."""
    data = acknowledged.read_bytes() if acknowledged.exists() else b""
    return {UUID(bytes=data[at : at + ID_BYTES]) for at in range(0, len(data), ID_BYTES)}


def _record(url: str, journal: Path, acknowledged: Path) -> None:
    asyncio.run(_record_for_ever(url, journal, acknowledged))


async def _record_for_ever(url: str, journal: Path, acknowledged: Path) -> None:
    db = Database(DatabaseConfig(url=url, query_timeout="2s"))
    opening = asyncio.create_task(_open(db))
    recorder = db.recorder(journal)
    file = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    await asyncio.gather(opening, *(_record_one_by_one(recorder, file) for _ in range(TASKS)))


async def _open(db: Database) -> None:
    """The recorder does not wait for this; the server may be down."""
    while True:
        try:
            return await db.open()
        except GatewayDBError:
            await asyncio.sleep(0.05)


async def _record_one_by_one(recorder: UsageRecorder, file: int) -> None:
    for number in itertools.count():
        record = UsageRecord(
            api_key_id=random.choice(KEYS), prompt_tokens=number, request_metadata={"text": "x" * random.randrange(300)}
        )
        await recorder.record(record)
        os.write(file, record.id.bytes)
        if number % 10 == 0:
            await recorder.record(record)  # as one who was cancelled and tries again
        await asyncio.sleep(0.002)
