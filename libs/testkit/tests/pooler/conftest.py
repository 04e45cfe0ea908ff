"""PgBouncer, where it is installed; `make test` says so when it is not."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sandbox.embedded import Postgres, free_port
from testkit.eventually import until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
collect_ignore = [] if PROGRAM else ["test_pgbouncer.py"]


def numbers_of_statements() -> list[int]:
    """List what PgBouncer may keep of prepared statements: before 1.21, none."""
    if PROGRAM is None:
        return []
    version = subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout
    major, minor = re.findall(r"\d+", version)[:2]
    return [0, 200] if (int(major), int(minor)) >= (1, 21) else [0]


class PgBouncer:
    """A pooler in transaction mode, with fewer servers than clients, so that transactions change theirs."""

    def __init__(self, postgres: Postgres, folder: Path, statements: int) -> None:
        self.statements = statements
        self.port = free_port()
        address = urlsplit(postgres.url)
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={address.port} user={address.username} password={address.password}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            "pool_mode = transaction",
            "default_pool_size = 3",
            "max_client_conn = 500",
            *([f"max_prepared_statements = {statements}"] if max(numbers_of_statements()) else []),
            *(["user = nobody"] if os.geteuid() == 0 else []),
        ]
        self._configuration = folder / "pgbouncer.ini"
        self._configuration.write_text("".join(f"{line}\n" for line in lines))
        # It reads the file again as the user that it changes to.
        self._configuration.chmod(0o644)
        self.log = folder / "pgbouncer.log"

    def url(self, database: str) -> str:
        """Return the address of a database behind the pooler."""
        return f"postgresql://acme@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def running(self) -> Iterator["PgBouncer"]:
        """Run it until the block ends."""
        assert PROGRAM
        with self.log.open("wb") as log:
            process = subprocess.Popen([PROGRAM, str(self._configuration)], stdout=log, stderr=log)
        try:
            until(lambda: "process up" in self.log.read_text() or process.poll() is not None)
            assert process.poll() is None, self.log.read_text()
            yield self
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module", params=numbers_of_statements(), ids=lambda number: f"statements-{number}")
def pgbouncer(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PgBouncer]:
    """Return a pooler that keeps so many prepared statements."""
    with PgBouncer(postgres, tmp_path_factory.mktemp("pgbouncer"), request.param).running() as pooler:
        yield pooler
