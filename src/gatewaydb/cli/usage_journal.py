"""`gatewaydb usage ship` and `usage journal`: what a recorder left on the local disk."""

from pathlib import Path

from gatewaydb.cli.errors import FAILED
from gatewaydb.cli.options import DEFAULT_OPTIONS, Options
from gatewaydb.cli.output import note, plain, show_fields, show_json
from gatewaydb.metering import inspect

SHIP_EXAMPLES = ("usage ship usage-journal", "usage ship usage-journal --json")
JOURNAL_EXAMPLES = ("usage journal usage-journal", "usage journal usage-journal --json")
_SHOWN = ("found", "shipped", "rejected", "quarantined", "torn", "dropped")


async def ship(path: Path, /, *, options: Options = DEFAULT_OPTIONS) -> int:
    """Move the usage records that a recorder left in its journal to the database, each once.

    While the database is away it goes on trying; stopped halfway, it can be run again. Records that the database
    refuses, and what is damaged, go to quarantine.jsonl in the folder, and make the exit code 1.

    Parameters
    ----------
    path
        The journal's folder. Refused while another process has it.
    """
    inspect(path)
    async with options.opened() as db, db.recorder(path) as recorder:
        await recorder.flush()
        stats = recorder.stats()
    counts = {name: getattr(stats, name) for name in _SHOWN}
    if options.json:
        show_json(counts)
    else:
        show_fields(counts)
    lost = stats.rejected + stats.quarantined + stats.dropped
    if lost and not options.json:
        note(f"{lost} are not in the database: see quarantine.jsonl in {path}")
    return FAILED if lost else 0


def journal(path: Path, /, *, options: Options = DEFAULT_OPTIONS) -> None:
    """Look into the journal of a recorder, also while a process has it; nothing is changed, and no database is needed.

    Parameters
    ----------
    path
        The journal's folder.
    """
    report = inspect(path)
    if options.json:
        show_json(report)
    else:
        show_fields({name.replace("_", " "): value for name, value in plain(report).items()})
