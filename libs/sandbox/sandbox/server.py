"""A server binary kept running on a data folder of its own."""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from sandbox.data_dirs import lock_data_dir
from sandbox.processes import Child, ServerUnavailable, free_port, wait_until

_START_SECONDS = 60


class EmbeddedServer(ABC):
    """A server on a data folder of its own, as a context manager.

    `durable` pays for surviving a power loss; without it the data still survives stopping and starting.
    """

    name: ClassVar[str]

    def __init__(self, data_dir: Path | str, port: int | None = None, *, durable: bool = False) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.log = self.data_dir / "log"
        self.durable = durable
        self._requested_port = port
        self._port = port
        self._child: Child | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; known before start() only where it was given."""
        if self._port is None:
            raise ServerUnavailable(self.name, "it has not been started")
        return self._port

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._child is None:
            raise ServerUnavailable(self.name, "it is not running")
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, not stopped, and has not died."""
        return self._child is not None and self._child.is_running

    def start(self) -> Self:
        """Start the server and return when it answers; ServerUnavailable when it cannot."""
        if self.is_running:
            return self
        self.stop()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            lock = lock_data_dir(self.name, self.data_dir)
            try:
                self._prepare()
                self._child = self._serve(lock)
            finally:
                os.close(lock)  # the server has inherited it, and holds the folder for as long as it lives
        except OSError as error:
            raise ServerUnavailable(self.name, str(error), self.log) from error
        return self

    def wait(self) -> None:
        """Wait until the server has ended; returns at once if it was never started, or was stopped."""
        if child := self._child:
            child.wait()

    def stop(self) -> None:
        """Stop the server in good order; does nothing if it is not running."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def _serve(self, lock: int) -> Child:
        for _ in range(5):
            self._port = self._requested_port or free_port()
            child = self._launch(self._port, lock)
            if self._becomes_ready(child):
                return child
            reason = self._stop_failed(child)
            if "address already in use" not in reason.lower():
                raise ServerUnavailable(self.name, f"it did not start: {reason}", self.log)
            if self._requested_port:
                break
        raise ServerUnavailable(self.name, f"port {self._port} is taken", self.log)

    def _becomes_ready(self, child: Child) -> bool:
        def settled() -> bool:
            return not child.is_running or self._is_ready(child.pid)

        return wait_until(settled, seconds=_START_SECONDS) and child.is_running

    def _stop_failed(self, child: Child) -> str:
        """End a server that does not come up, and say why it does not."""
        was_running = child.is_running
        child.stop(seconds=5)
        if was_running:
            return f"no answer within {_START_SECONDS} seconds"
        return child.output().strip()[-400:] or "it ended without a word"

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _launch(self, port: int, lock: int) -> Child: ...

    @abstractmethod
    def _is_ready(self, pid: int) -> bool: ...

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
