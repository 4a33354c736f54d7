"""What a journal asks of the file system: files that are there after a power cut, a lock that ends with its process."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatewaydb.errors import UsageJournalError

LOCK = "lock"


def sync(file: int) -> None:
    """Returns when the file's bytes are on the disk."""
    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(file)


def sync_folder(folder: Path) -> None:
    """Returns when the names of the folder's files are on the disk."""
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_folder(folder: Path) -> None:
    """Makes it with its parents, if it is not there."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def lock(folder: Path) -> int:
    """The lock's file; closing it unlocks. Raises UsageJournalError where another process has it."""
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 20, 0).decode(errors="replace").strip() or "another"
        os.close(file)
        raise UsageJournalError(f"the journal {folder} is in use by process {holder}") from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def write(file: int, data: bytes) -> None:
    """All of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """The file's descriptor, to write; a new file is its owner's alone."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        yield file
    finally:
        os.close(file)
