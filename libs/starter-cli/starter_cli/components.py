"""The components of a stack: servers that are started, watched and stopped."""

from collections.abc import Callable
from threading import Event
from typing import Protocol

from sandbox.embedded import Postgres, ServerUnavailable, Valkey

from starter_cli.errors import Failure
from starter_cli.processes import Process, Program


class Component(Protocol):
    """A server of the stack."""

    name: str
    address: str

    @property
    def ready_url(self) -> str | None:
        """What answers 200 when it is ready, if it speaks HTTP."""

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""

    @property
    def exit_reason(self) -> str:
        """How it ended, in words."""

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""

    def start(self, cancelled: Event) -> None:
        """Start it and wait until it answers; raises Failure."""

    def wait(self) -> None:
        """Wait until its process has ended; returns at once when it does not run."""

    def stop(self) -> None:
        """Stop it in good order; does nothing when it does not run."""


class ProgramComponent:
    """A component that is a program of ours; it is ready when a URL of its answers 200.

    Each start describes the program anew, with the variables that it has then.
    """

    def __init__(self, name: str, address: str, ready_url: str, describe: Callable[[], Program]) -> None:
        self.name, self.address = name, address
        self.ready_url = ready_url
        self._describe = describe
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.pid is not None

    @property
    def exit_reason(self) -> str:
        """How it ended, in words."""
        return self._process.exit_reason if self._process else "never started"

    def start(self, cancelled: Event) -> None:
        """Start it and wait until it answers; raises Failure."""
        self.stop()
        self._process = Process(self._describe())
        self._process.wait_for(self.ready_url, cancelled)

    def wait(self) -> None:
        """Wait until its process has ended; returns at once when it does not run."""
        if self._process:
            self._process.wait_until_ended()

    def stop(self) -> None:
        """Stop it in good order; does nothing when it does not run."""
        if self._process:
            self._process.stop()


class EmbeddedComponent:
    """A component from a wheel: Postgres or Valkey."""

    ready_url = None
    exit_reason = "its process is gone"

    def __init__(self, name: str, server: Postgres | Valkey) -> None:
        self.name, self.address = name, f"127.0.0.1:{server.port}"
        self._server = server

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._server.pid if self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._server.is_running

    def start(self, cancelled: Event) -> None:
        """Start it and wait until it answers; raises Failure."""
        self._server.stop()
        try:
            self._server.start()
        except ServerUnavailable as error:
            raise Failure(self.name, error.reason, error.log) from error
        if cancelled.is_set():
            self.stop()

    def wait(self) -> None:
        """Wait until its process has ended; returns at once when it does not run."""
        self._server.wait()

    def stop(self) -> None:
        """Stop it in good order; does nothing when it does not run."""
        self._server.stop()
