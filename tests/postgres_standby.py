"""A streaming standby of a `PostgresServer`, from the same binaries."""

from tests.postgres_server import PostgresServer
from tests.postgres_wheel import run, server_binaries


class PostgresStandby(PostgresServer):
    """Follows `primary`, which has to run, and answers reads. `promote` makes it a primary of its own."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__(durable=False)
        self._primary = primary

    def follow_synchronously(self) -> None:
        """From now on the primary acknowledges no commit that this standby does not have."""
        self._primary.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._primary.psql("SELECT pg_reload_conf()")
        wait = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        while self._primary.psql(wait) != "1":
            pass

    def catch_up(self) -> None:
        """Return when it has replayed what the primary has written so far."""
        written = self._primary.psql("SELECT pg_current_wal_flush_lsn()")
        while self.psql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") != "t":
            pass

    def promote(self) -> None:
        """Return when it takes writes."""
        self.psql("SELECT pg_promote()")

    def _init_data(self) -> None:
        self._bin = server_binaries(self._directory)
        run(
            *(self._bin / "pg_basebackup", "--dbname", self._primary.url(), "--pgdata", self._directory / "data"),
            *("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-sync"),
            **self._as_server(),
        )
