"""A journal under appends, shipping, failures of the disk, kills and lost checkpoints, against a list."""

import errno
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gatewaydb import UsageJournalError
from gatewaydb.config import JOURNAL_MIN_BYTES
from gatewaydb.metering import files
from gatewaydb.metering.journal import Journal


def _broken(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class JournalAgainstItsModel(RuleBasedStateMachine):
    """`acknowledged` is all that was appended, `shipped` how many of it were; a lost checkpoint may set that back."""

    @initialize()
    def begin(self) -> None:
        self.patches = ExitStack()
        for name in ("sync", "sync_folder"):  # no power is cut here
            self.patches.enter_context(patch.object(files, name, lambda _: None))
        self.folder = Path(tempfile.mkdtemp(prefix="gatewaydb-journal-"))
        self.acknowledged: list[bytes] = []
        self.left_over: list[bytes] = []
        self.shipped = 0
        self.journal = self._opened()

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.folder)
        self.patches.close()

    @rule(sizes=st.lists(st.integers(0, 9_000), min_size=1, max_size=5))
    def append(self, sizes: list[int]) -> None:
        bodies = self._bodies(sizes)
        self.journal.append(bodies)
        self.acknowledged += bodies
        self.left_over = []

    @rule(sizes=st.lists(st.integers(0, 9_000), min_size=1, max_size=3), is_taken_back=st.booleans())
    def append_to_a_broken_disk(self, sizes: list[int], is_taken_back: bool) -> None:
        """What could not be taken back may be shipped by the next process: nobody was told that it would not."""
        bodies = self._bodies(sizes, b"never acknowledged ")
        truncate = os.ftruncate if is_taken_back else _broken
        broken = patch.object(files, "sync", _broken), patch.object(os, "ftruncate", truncate)
        with broken[0], broken[1], pytest.raises(UsageJournalError):
            self.journal.append(bodies)
        self.left_over = [] if is_taken_back else bodies

    @rule(count=st.integers(1, 8))
    def ship(self, count: int) -> None:
        batch = self.journal.read(count)
        if batch is None:
            assert self.shipped == len(self.acknowledged)
            return
        end = self.shipped + len(batch.bodies)
        assert batch.bodies == self.acknowledged[self.shipped : end]
        assert (batch.damaged, batch.after.number) == (0, end)
        self.journal.advance(batch.after)
        self.shipped = end

    @rule()
    def retire(self) -> None:
        self.journal.retire()

    @rule(torn=st.binary(max_size=23), is_checkpoint_lost=st.booleans())
    def kill_and_restart(self, torn: bytes, is_checkpoint_lost: bool) -> None:
        self.journal.close()
        segments = sorted(self.folder.glob("0*"))
        if segments:
            with segments[-1].open("ab") as file:
                file.write(torn)
            if is_checkpoint_lost:
                (self.folder / "shipped").unlink(missing_ok=True)
        self.journal = self._opened()
        if self.journal.end > len(self.acknowledged):
            self.acknowledged += self.left_over
        self.left_over = []
        if is_checkpoint_lost:
            assert self.journal.at.number <= self.shipped
            self.shipped = self.journal.at.number

    @invariant()
    def counts_hold(self) -> None:
        assert self.journal.end == len(self.acknowledged)
        assert self.journal.at.number == self.shipped
        assert self.journal.size_bytes >= self.journal.backlog_bytes >= 0

    def _bodies(self, sizes: list[int], text: bytes = b"") -> list[bytes]:
        first = len(self.acknowledged)
        return [text + b"%d " % number + bytes(size) for number, size in enumerate(sizes, first)]

    def _opened(self) -> Journal:
        journal = Journal(self.folder, JOURNAL_MIN_BYTES)
        journal.open()
        return journal


JournalAgainstItsModel.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestJournalAgainstItsModel = JournalAgainstItsModel.TestCase
