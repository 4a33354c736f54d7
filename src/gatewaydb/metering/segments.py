"""A journal's segments: append-only files of frames, which are removed whole."""

import os
import re
from pathlib import Path

_NAME = re.compile(r"(\d{8,})-(\d+)-([0-9a-f]{8})")


class Segment:
    """One file of frames: its place in order, the number of its first frame, the salt of its checksums.

    `size` is where its good frames end.
    """

    def __init__(self, folder: Path, place: int, base: int, salt: int, size: int = 0) -> None:
        self.name = f"{place:08}-{base}-{salt:08x}"
        self.path = folder / self.name
        self.place = place
        self.base = base
        self.salt = salt
        self.size = size

    def read(self, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of it; of a file that is gone, none."""
        try:
            with self.path.open("rb", buffering=0) as file:
                return os.pread(file.fileno(), max(0, min(limit, self.size - offset)), offset)
        except FileNotFoundError:
            return b""


def segments_in(folder: Path) -> list[Segment]:
    """Those of the folder, in order."""
    found = []
    for path in folder.iterdir():
        name = _NAME.fullmatch(path.name)
        if name is not None:
            found.append(Segment(folder, int(name[1]), int(name[2]), int(name[3], 16), _size(path)))
    return sorted(found, key=lambda segment: segment.place)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its process has just shipped it, while somebody looks into the journal
        return 0
