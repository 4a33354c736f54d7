"""The command itself: its groups, and what becomes of an error."""

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError, UnusedCliTokensError

from gatewaydb import ConfigurationError, GatewayDBError, InvalidValueError, __version__
from gatewaydb.cli import (
    api_keys,
    demo,
    model_aliases,
    models,
    monthly_usage_summaries,
    providers,
    schema,
    stats,
    usage_records,
)
from gatewaydb.cli.errors import FAILED, INTERRUPTED, MISUSED, CommandError
from gatewaydb.cli.options import command, in_help
from gatewaydb.cli.output import visible

app = App(
    name="gatewaydb",
    help="The data layer of an LLM gateway: API keys, models and prices, usage and spend.",
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
    help_epilogue=in_help("demo", "init", "models import", "keys create production --budget 1000", "COMMAND --help"),
)
for group in (api_keys, models, model_aliases, providers, usage_records, monthly_usage_summaries):
    app.command(group.app)
command(app, "init", "init --database postgresql://gateway@localhost/llmgateway")(schema.init)
command(app, "migrate", "migrate --sql", "migrate --sql --from 0 --database postgresql://localhost/x")(schema.migrate)
command(app, "status", "status --json")(schema.status)
command(app, "stats", "stats --json")(stats.stats)
command(app, *demo.EXAMPLES)(demo.demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives the code for the shell: 0, 1 where it failed, 2 where it was wrong, 130 for Ctrl-C."""
    _bear_any_text()
    try:
        with _interruptible():
            code = app(
                sys.argv[1:] if arguments is None else arguments,
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
                backend="asyncio",
            )
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        return _closed_pipe()
    except (KeyboardInterrupt, CycloptsError, CommandError, GatewayDBError, OSError) as error:
        message, code = _in_words(error)
        # What looks like a key was put in the wrong place, and must not go on into a log.
        text = re.sub(r"sk-[\w-]{6,}", "sk-***", visible(message))
        sys.stderr.write(f"error: {text}\n")
        return code


def _in_words(error: BaseException) -> tuple[str, int]:
    """What to say, and the code for the shell."""
    match error:
        case KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case CycloptsError():
            return _of_arguments(error), MISUSED
        case CommandError():
            return str(error), error.exit_code
        case InvalidValueError() | ConfigurationError():
            return str(error), MISUSED
        case OSError(filename=str(file)):
            return f"{file}: {error.strerror}", FAILED
    return str(error), FAILED


def _of_arguments(error: CycloptsError) -> str:
    # What is too much is not repeated: it may be a secret.
    surplus = "There are more arguments than the command takes."
    message = surplus if isinstance(error, UnusedCliTokensError) else str(error)
    return f"{message.rstrip('.')}. See: {' '.join(('gatewaydb', *(error.command_chain or ())))} --help"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C is KeyboardInterrupt everywhere: asyncio's own handler does not end a wait for a person or a pipe."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _bear_any_text() -> None:
    """A terminal of another encoding shows `?` for what it lacks, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _closed_pipe() -> int:
    """Whoever read our output has seen enough. What is left in the buffers would be an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
