"""How a command fails: one line on stderr, and a code for the shell."""

FAILED = 1
"""What was asked for could not be done."""
MISUSED = 2
"""The command, an option or a value is wrong."""
INTERRUPTED = 130
"""Ctrl-C."""


class CommandError(Exception):
    """The command cannot do what was asked. The message is for people."""

    exit_code = FAILED


class UsageError(CommandError):
    """The command was called in a wrong way."""

    exit_code = MISUSED
