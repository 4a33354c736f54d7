"""The journal's files: what was acknowledged is read again, whatever the disk or a kill did; room comes back."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatewaydb import UsageJournalError
from gatewaydb.config import JOURNAL_MIN_BYTES
from gatewaydb.metering import files, frames
from gatewaydb.metering.journal import Batch, Journal

SMALL = JOURNAL_MIN_BYTES  # segments of 16 KiB
Open = Callable[[], Journal]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "not" / "yet" / "there"


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    """Opens the journal, as a new process would; the one before lets go of it without a word, as killed ones do."""
    journals: list[Journal] = []

    def opening() -> Journal:
        if journals:
            journals[-1].close()
        journals.append(Journal(folder, SMALL))
        journals[-1].open()
        return journals[-1]

    yield opening
    if journals:
        journals[-1].close()


def rest(journal: Journal, max_frames: int = 1_000) -> list[bytes]:
    """Reads and ships everything."""
    bodies: list[bytes] = []
    for batch in batches(journal, max_frames):
        bodies += batch.bodies
    return bodies


def batches(journal: Journal, max_frames: int = 1_000) -> Iterator[Batch]:
    while batch := journal.read(max_frames):
        yield batch
        journal.advance(batch.after)


def segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name[0] == "0")


def records(count: int, size: int = 100) -> list[bytes]:
    return [f"{number:0{size}}".encode() for number in range(count)]


def test_what_was_appended_is_read_in_order(opened: Open) -> None:
    journal = opened()
    journal.append([b"a", b"b"])
    journal.append([b"c"])
    assert rest(journal, max_frames=2) == [b"a", b"b", b"c"]
    assert journal.read(10) is None


def test_what_was_not_shipped_is_there_for_the_next_process(opened: Open) -> None:
    journal = opened()
    journal.append(records(10))
    first = journal.read(4)
    assert first is not None
    journal.advance(first.after)
    assert journal.read(3) is not None  # was under way when the process died
    again = opened()
    assert (again.at.number, again.end) == (4, 10)
    again.append([b"new"])
    assert rest(again) == [*records(10)[4:], b"new"]
    assert opened().read(1) is None


@pytest.mark.parametrize("loss", ["gone", "garbage", "empty"])
def test_without_a_good_checkpoint_more_is_read_again_and_nothing_is_skipped(
    opened: Open, folder: Path, loss: str
) -> None:
    journal = opened()
    journal.append(records(10))
    batch = journal.read(4)
    assert batch is not None
    journal.advance(batch.after)
    journal.close()
    match loss:
        case "gone":
            (folder / "shipped").unlink()
        case "garbage":
            (folder / "shipped").write_bytes(bytes(100))
        case _:
            (folder / "shipped").write_bytes(b"")
    assert rest(opened()) == records(10)


def test_an_old_checkpoint_of_a_segment_that_is_gone_skips_nothing(opened: Open, folder: Path) -> None:
    journal = opened()
    journal.append(records(5))
    assert len(rest(journal)) == 5
    saved = (folder / "shipped").read_bytes()
    journal.retire()
    assert segments(folder) == []
    journal.append([b"six", b"seven"])
    journal.close()
    (folder / "shipped").write_bytes(saved)
    again = opened()
    assert rest(again) == [b"six", b"seven"]
    assert again.end == 7


def test_shipped_segments_are_removed_and_their_room_comes_back(opened: Open, folder: Path) -> None:
    journal = opened()
    for body in records(60, size=1_000):
        journal.append([body])
    assert len(segments(folder)) > 3
    assert journal.size_bytes == sum(path.stat().st_size for path in segments(folder))
    assert rest(journal, max_frames=5) == records(60, size=1_000)
    [last] = segments(folder)
    assert journal.size_bytes == last.stat().st_size
    assert journal.backlog_bytes == 0
    journal.retire()
    assert segments(folder) == []
    assert journal.size_bytes == 0


def test_numbers_go_on_where_they_ended_though_no_segment_is_left(opened: Open, folder: Path) -> None:
    journal = opened()
    journal.append(records(3))
    rest(journal)
    journal.retire()
    again = opened()
    assert again.end == again.at.number == 3
    again.append([b"x"])
    assert segments(folder)[0].name.startswith("00000002-3-")


def test_every_truncation_gives_the_whole_frames_and_cuts_the_torn_one_off(opened: Open, folder: Path) -> None:
    opened().append(bodies := [b"first", b"", b"the third"])
    [segment] = segments(folder)
    data = segment.read_bytes()
    borders = [sum(frames.HEADER_BYTES + len(body) for body in bodies[:count]) for count in range(4)]
    for length in range(len(data)):
        segment.write_bytes(data[:length])
        journal = opened()
        whole = max(count for count in range(4) if borders[count] <= length)
        assert journal.end == whole
        assert journal.torn == (length not in borders)
        assert segment.stat().st_size == borders[whole]
        batch = journal.read(10)
        assert (batch.bodies if batch else []) == bodies[:whole]


def test_every_flipped_bit_costs_its_frame_at_most_and_is_kept_with_its_place(opened: Open, folder: Path) -> None:
    opened().append(bodies := [b"first", b"2", b"the third"])
    [segment] = segments(folder)
    data = segment.read_bytes()
    borders = [sum(frames.HEADER_BYTES + len(body) for body in bodies[:count]) for count in range(4)]
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(flipped)
        journal = opened()
        batch = journal.read(10)
        assert batch is not None
        hit = max(count for count in range(3) if borders[count] <= bit // 8)
        assert batch.bodies == bodies[:hit] + bodies[hit + 1 :]
        assert batch.damaged == 1
        assert [(each.end, each.data) for each in batch.damage] == [
            (borders[hit + 1], bytes(flipped[borders[hit] : borders[hit + 1]]))
        ]
        assert batch.after.number == journal.end == 3


def test_damage_in_a_segment_is_found_wherever_the_reader_s_window_ends(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = records(8, size=60)
    opened().append(bodies)
    [segment] = segments(folder)
    data = bytearray(segment.read_bytes())
    size = frames.HEADER_BYTES + 60
    data[2 * size + 5] ^= 1  # a length
    data[5 * size + 40] ^= 1  # a body
    segment.write_bytes(data)
    for window in range(1, 3 * size, 7):
        monkeypatch.setattr("gatewaydb.metering.journal._WINDOW_BYTES", window)
        read = list(batches(opened()))
        (folder / "shipped").unlink()
        segment.write_bytes(data)
        assert [body for batch in read for body in batch.bodies] == bodies[:2] + bodies[3:5] + bodies[6:]
        assert [damage.end for batch in read for damage in batch.damage] == [3 * size, 6 * size]
        assert sum(batch.damaged for batch in read) == 2


def test_two_processes_never_share_a_journal(opened: Open, folder: Path) -> None:
    journal = opened()
    with pytest.raises(UsageJournalError, match=f"{folder} is in use by process {os.getpid()}"):
        Journal(folder, SMALL).open()
    code = "import sys, pathlib; from gatewaydb.metering.journal import Journal; " + (
        f"Journal(pathlib.Path(sys.argv[1]), {SMALL}).open()"
    )
    other = [sys.executable, "-c", code, str(folder)]
    refused = subprocess.run(other, capture_output=True, text=True, check=False)
    assert f"UsageJournalError: the journal {folder} is in use by process {os.getpid()}" in refused.stderr
    journal.append([b"still ours"])
    journal.close()
    subprocess.run(other, check=True)  # and its lock died with it
    assert rest(opened()) == [b"still ours"]


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_full_disk_refuses_the_group_and_the_journal_stays_whole(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened()
    journal.append([b"before"])
    write = os.write

    def half(file: int, data: memoryview) -> int:
        if len(data) < 50:
            failing(errno.ENOSPC)()
        return write(file, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(UsageJournalError, match=f"{folder} cannot be written: No space left on device"):
            journal.append([b"in vain" * 40])
    [segment] = segments(folder)
    assert segment.stat().st_size == journal.size_bytes == frames.HEADER_BYTES + len(b"before")
    journal.append([b"after"])
    assert segments(folder) == [segment]
    assert rest(journal) == [b"before", b"after"]


def test_where_not_even_the_half_written_frame_can_be_taken_back_it_is_not_read(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened()
    journal.append([b"before"])
    with monkeypatch.context() as patched:
        patched.setattr(files, "sync", failing(errno.EIO))
        patched.setattr(os, "ftruncate", failing(errno.EIO))
        with pytest.raises(UsageJournalError):
            journal.append([b"in vain"])
    journal.append([b"after"])
    assert len(segments(folder)) == 2
    again = opened()
    assert again.end == 2
    assert rest(again) == [b"before", b"after"]


def test_after_a_failed_fdatasync_its_segment_is_never_written_again(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened()
    journal.append([b"before"])
    with monkeypatch.context() as patched:
        patched.setattr(files, "sync", failing(errno.EIO))
        for _ in range(2):
            with pytest.raises(UsageJournalError, match="Input/output error"):
                journal.append([b"in vain"])
    journal.append([b"after"])
    assert [path.stat().st_size > 0 for path in segments(folder)] == [True, False, True]
    assert rest(journal) == [b"before", b"after"]
    assert rest(opened()) == []


def test_a_segment_whose_name_is_not_safe_takes_no_record(
    opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened()
    with monkeypatch.context() as patched:
        patched.setattr(files, "sync_folder", failing(errno.EIO))
        with pytest.raises(UsageJournalError):
            journal.append([b"in vain"])
    assert segments(folder) == []
    journal.append([b"after"])
    assert rest(opened()) == [b"after"]


def test_a_file_of_another_kind_in_the_place_of_the_folder_is_a_clear_error(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("something else")
    with pytest.raises(UsageJournalError, match=f"the journal {place} cannot be opened: "):
        Journal(place, SMALL).open()
    assert place.read_text() == "something else"


def test_files_are_their_owner_s_alone(opened: Open, folder: Path) -> None:
    journal = opened()
    journal.append([b"private"])
    journal.quarantine([b"{}"])
    assert {path.stat().st_mode & 0o077 for path in [folder, *folder.iterdir()]} == {0}
