"""Looks into a journal from outside: it takes no lock and changes nothing."""

from pathlib import Path

import msgspec

from gatewaydb.errors import UsageJournalError
from gatewaydb.metering import frames
from gatewaydb.metering.frames import Damage, Frame, Torn
from gatewaydb.metering.journal import QUARANTINE, Position, is_journal, read_checkpoint
from gatewaydb.metering.segments import Segment, segments_in


class JournalReport(msgspec.Struct, kw_only=True):
    """What a journal's folder holds. Damage and torn bytes are of what is not shipped yet."""

    segments: int = 0
    bytes: int = 0
    backlog_records: int = 0
    damaged_places: int = 0
    torn_bytes: int = 0
    quarantined_entries: int = 0


def inspect(folder: Path) -> JournalReport:
    """Reads all of it. Where a recorder is at work, a frame that is being written counts as torn.

    Raises UsageJournalError where no journal is.
    """
    if not is_journal(folder):
        raise UsageJournalError(f"{folder} is no journal of a recorder")
    report = JournalReport(quarantined_entries=_lines_in(folder / QUARANTINE))
    shipped = read_checkpoint(folder)
    found = segments_in(folder)
    if shipped is not None and shipped.segment in [segment.name for segment in found]:
        found = [segment for segment in found if segment.place >= int(shipped.segment.partition("-")[0])]
    for segment in found:
        _count(segment, shipped, report)
    return report


def _count(segment: Segment, shipped: Position | None, report: JournalReport) -> None:
    report.segments += 1
    report.bytes += segment.size
    start = shipped.offset if shipped is not None and shipped.segment == segment.name else 0
    for item in frames.decode(segment.read(start, segment.size), segment.salt, is_all=True):
        match item:
            case Frame():
                report.backlog_records += 1
            case Damage():
                report.damaged_places += 1
            case Torn(data=data):
                report.torn_bytes += len(data)


def _lines_in(path: Path) -> int:
    try:
        with path.open("rb") as lines:
            return sum(1 for _ in lines)
    except FileNotFoundError:
        return 0
