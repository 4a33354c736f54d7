"""A real PostgreSQL for the tests: one of our own, which they can kill and pause, or one that runs already."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import psutil

from tests.postgres_wheel import TIMEOUT_SECONDS, as_server_account, client_binaries, run, server_binaries

URL_VARIABLE = "GATEWAYDB_TEST_POSTGRES_URL"
USER = "postgres"
PASSWORD = "only-for-tests"
# Below the range from which outgoing connections get their ports: while the server is down, nobody takes its own.
PORTS = range(20_000, 32_000)

SETTINGS = {
    "dynamic_shared_memory_type": "mmap",  # in the data directory: a killed server leaves none behind
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "timezone": "America/New_York",  # whoever forgets UTC finds out
}
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}  # loses commits with the power, not with a SIGKILL


@contextlib.contextmanager
def postgres_for_tests() -> Iterator["RunningPostgres"]:
    """The server named by GATEWAYDB_TEST_POSTGRES_URL, else a fast one of our own that is gone afterwards."""
    if url := os.environ.get(URL_VARIABLE):
        yield RunningPostgres(url)
    else:
        with PostgresServer(durable=False) as server:
            yield server


class RunningPostgres:
    """A server that accepts connections at `url`, whose user may create databases."""

    _copying = ""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str = "postgres") -> str:
        """Where `database` is, with user and password."""
        scheme, address, _, query, _ = urlsplit(self._url)
        return f"{scheme}://{address}/{quote(database, safe='')}" + (f"?{query}" if query else "")

    def create_database(self, name: str, template: str = "template1") -> None:
        """Create a database as a copy of `template`, to which nobody may be connected."""
        self.psql(f"CREATE DATABASE {_quoted(name)} TEMPLATE {_quoted(template)} {self._copying}")

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and the connections to it with it."""
        self.psql(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run SQL in psql, as an operator would; rows come back one a line, their columns parted by `|`."""
        psql = client_binaries() / "psql"
        return run(psql, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(database)).rstrip("\n")


class PostgresServer(RunningPostgres):
    """A server of our own in a temporary directory; nothing is left of it once this process has ended, however it did.

    It listens on a free loopback port, with a password, and on a unix socket, without. `durable=False` leaves out
    fsync. `settings` are PostgreSQL's own, such as `{"max_connections": "500"}`.
    """

    _copying = "STRATEGY file_copy"  # 0.13 s instead of 0.31 s; PostgreSQL 14 does not know it

    def __init__(self, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self._settings = SETTINGS | ({} if durable else FAST_SETTINGS) | dict(settings or {})
        self.port = _free_port()
        super().__init__(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the data directory and start. Returns once connections are accepted, as `restart` does."""
        self._directory = Path(tempfile.mkdtemp(prefix="gatewaydb-postgres-"))
        self._reaper = _start_reaper(self._directory)
        try:
            self._init_data()
            self._launch()
        except BaseException:
            self._reaper.communicate()
            raise

    def stop(self) -> None:
        """Stop, and remove everything."""
        try:
            self._shut_down()
        finally:
            self._reaper.communicate()

    def restart(self) -> None:
        """Start again on the same port and data: after an orderly stop, or, if it was killed, with crash recovery."""
        self._shut_down()
        self._launch()

    def kill(self) -> None:
        """SIGKILL to every process of the server, as when its machine crashes but for the network."""
        self.pause()
        children = self._children()
        for child in children:
            child.kill()
        _wait_until_dead(children)
        self._postmaster.kill()
        self._postmaster.wait()

    def pause(self) -> None:
        """SIGSTOP to every process: the server answers nothing and closes nothing, as when its machine hangs."""
        self._postmaster.suspend()  # first, so that it forks no more
        _wait_until(lambda: self._postmaster.status() == psutil.STATUS_STOPPED, "PostgreSQL does not pause")
        for child in self._children():
            child.suspend()

    def resume(self) -> None:
        """SIGCONT to every process."""
        for process in [*self._children(), self._postmaster]:
            # A backend whose client has just left ends by itself.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def socket_url(self, database: str = "postgres") -> str:
        """The same database through the unix socket."""
        place = urlencode({"host": self._directory, "port": self.port})
        return f"postgresql://{USER}@/{quote(database, safe='')}?{place}"

    def _children(self) -> list[psutil.Process]:
        return self._postmaster.children()

    def _init_data(self) -> None:
        password_file = self._directory / "password"
        password_file.write_text(PASSWORD)
        self._bin = server_binaries(self._directory)
        run(
            *(self._bin / "initdb", "--pgdata", self._directory / "data", "--no-sync", "--no-instructions"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *(f"--username={USER}", f"--pwfile={password_file}", "--auth-local=trust", "--auth-host=scram-sha-256"),
            **self._as_server(),
        )

    def _launch(self) -> None:
        settings = {**self._settings, "port": self.port, "unix_socket_directories": self._directory}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(self._bin / "postgres"), "-D", str(self._directory / "data"), *options]
        with (self._directory / "log").open("ab") as log:
            self._postmaster = psutil.Popen(command, stdout=log, stderr=log, **self._as_server())
        _wait_until(self._is_ready, "PostgreSQL does not start")

    def _is_ready(self) -> bool:
        if self._postmaster.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{(self._directory / 'log').read_text()}")
        status = _read_status(self._directory)
        return len(status) > 7 and status[0] == str(self._postmaster.pid) and status[7].strip() == "ready"

    def _shut_down(self) -> None:
        if self._postmaster.poll() is None:
            self.resume()
            self._postmaster.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: it waits for no client
            self._postmaster.wait(TIMEOUT_SECONDS)

    def _as_server(self) -> dict[str, Any]:
        """How its processes are run: away from Ctrl-C, from PG* variables and, since it refuses root, from root."""
        return {"cwd": self._directory, "env": {"PATH": os.defpath}, "start_new_session": True, **as_server_account()}


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port among {PORTS}")


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(0.005)


def _wait_until_dead(processes: list[psutil.Process]) -> None:
    """A zombie is dead: its parent may be stopped, or an init that is in no hurry."""

    def is_dead(process: psutil.Process) -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    _wait_until(lambda: all(map(is_dead, processes)), "PostgreSQL does not die")


def _read_status(directory: Path) -> list[str]:
    """postmaster.pid: 1 the process, 7 its shared memory, 8 what it is doing; fewer lines, or none, early on."""
    with contextlib.suppress(FileNotFoundError):
        return (directory / "data/postmaster.pid").read_text().splitlines()
    return []


def _start_reaper(directory: Path) -> subprocess.Popen[bytes]:
    """A process that waits for this one's end, which closes its standard input, and then clears up."""
    command = [sys.executable, "-m", __name__, str(directory)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, start_new_session=True)


def _reap(directory: Path) -> None:
    sys.stdin.buffer.read()
    if status := _read_status(directory):
        _kill_postmaster(int(status[0]), directory)
        if len(status) > 6:  # the one thing that a killed PostgreSQL leaves outside its directory
            subprocess.run(["ipcrm", "-m", status[6].split()[1]], check=False, capture_output=True)
    shutil.rmtree(directory)


def _kill_postmaster(pid: int, directory: Path) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        postmaster = psutil.Process(pid)
        if str(directory / "data") in postmaster.cmdline():
            processes = [postmaster, *postmaster.children()]
            for process in processes:
                process.kill()
            _wait_until_dead(processes)


if __name__ == "__main__":
    _reap(Path(sys.argv[1]))
