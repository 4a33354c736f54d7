"""What is asked of a person, and secrets, which never come as arguments: those stay in a shell's history."""

import getpass
import os
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from gatewaydb.cli.errors import CommandError, UsageError

Yes = Annotated[bool, Parameter(name="--yes", alias="-y", show_default=False, help="Do not ask.")]

CredentialsFrom = Annotated[
    str | None,
    Parameter(
        name="--credentials-from",
        help="stdin, prompt or env:NAME (an environment variable). A JSON object, or one secret, which is stored as "
        '{"api_key": ...}.',
    ),
]


def confirm(question: str, yes: bool) -> None:
    """Returns if the answer is yes; where nobody can be asked, only `--yes` is one."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is there to ask: add --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was done")


def credentials_source() -> str:
    """Where credentials come from when nobody says: a person, or what is piped in."""
    return "prompt" if sys.stdin.isatty() else "stdin"


def read_credentials(source: str) -> Mapping[str, Any]:
    """The credentials from `stdin`, `prompt` or `env:NAME`. No error of this function holds any part of them."""
    text = _read(source).strip()
    if not text:
        raise UsageError("the credentials are empty")
    if not text.startswith("{"):
        return {"api_key": text}
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise UsageError("the credentials begin with { and are no JSON object") from None


def _read(source: str) -> str:
    if source == "stdin":
        return sys.stdin.read()
    if source == "prompt":
        return getpass.getpass("Credentials: ")
    found = re.fullmatch(r"env:([A-Za-z_][A-Za-z0-9_]*)", source)
    if found is None:
        raise UsageError("--credentials-from: must be stdin, prompt or env:NAME; the credentials themselves never are")
    if found[1] not in os.environ:
        raise CommandError("--credentials-from: there is no such environment variable")
    return os.environ[found[1]]
