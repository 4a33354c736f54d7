"""The files that usage comes from and goes to: lines, also in gzip, and a file that is whole or not there."""

import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from gatewaydb.cli.errors import CommandError

LINE_MAX_CHARS = 16 * 2**20
"""More than the longest usage record takes: a file without line ends is not read into memory."""

_GZIP_MAGIC = b"\x1f\x8b"
_COMPRESSION = 6


class Lines:
    """The lines of a text, with their ends; it remembers those that were read since `take` was called."""

    def __init__(self, text: IO[str], file: str, position: Callable[[], int] = lambda: 0, size: int = 0) -> None:
        self._text = text
        self._file = file
        self._number = 0
        self._taken: list[str] = []
        self.position = position
        """The bytes of the file that were read so far."""
        self.size = size
        """The bytes of the file; 0: not known."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._text.readline(LINE_MAX_CHARS)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CommandError(f"{self._file}: after line {self._number}: {error}") from None
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) == LINE_MAX_CHARS:
            raise CommandError(f"{self._file}: line {self._number}: has more than {LINE_MAX_CHARS - 1} characters")
        self._taken.append(line)
        return line

    def take(self) -> str:
        """What was read since the last time, as one text."""
        text = "".join(self._taken)
        self._taken.clear()
        return text


@contextmanager
def opened_lines(file: str) -> Iterator[Lines]:
    """The lines of a file, or of stdin for `-`. Bytes that are no UTF-8 come as surrogates, which no field takes."""
    if file == "-":
        with _text_of_stdin() as text:
            yield Lines(text, "stdin")
        return
    path = Path(file)
    if path.is_dir():
        raise CommandError(f"{file}: is a directory")
    with path.open("rb") as binary, _text_of(binary) as text:
        yield Lines(text, file, binary.tell if binary.seekable() else lambda: 0, path.stat().st_size)


@contextmanager
def _text_of_stdin() -> Iterator[IO[str]]:
    binary = getattr(sys.stdin, "buffer", None)
    if not isinstance(binary, io.BufferedReader):
        yield sys.stdin
        return
    with _text_of(binary) as text:
        yield text


@contextmanager
def _text_of(binary: io.BufferedReader) -> Iterator[IO[str]]:
    is_gzip = binary.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    plain = cast(BinaryIO, gzip.GzipFile(fileobj=binary) if is_gzip else binary)
    text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="\n")
    try:
        yield text
    finally:
        text.detach()


@contextmanager
def opened_output(file: str) -> Iterator[BinaryIO]:
    """Where bytes go: stdout for `-`, else a file, which appears when all of it is written, and not before.

    Until then it is FILE.part, which goes away with an error. A name that ends in .gz is compressed.
    """
    path = Path(file)
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif path.is_dir():
        raise CommandError(f"{file}: is a directory")
    elif path.exists() and not path.is_file():
        with path.open("wb") as device, _compressed(device, path) as target:
            yield target
    else:
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as whole:
                with _compressed(whole, path) as target:
                    yield target
                whole.flush()
                os.fsync(whole.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def _compressed(binary: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix != ".gz":
        yield binary
        return
    with gzip.GzipFile(path.stem, "wb", _COMPRESSION, binary) as target:
        yield cast(BinaryIO, target)
