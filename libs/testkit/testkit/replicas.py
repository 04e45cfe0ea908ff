"""A service in a process of its own, which a test may end as hard as it likes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import SecretStr
from sandbox.embedded import free_port
from servicekit.settings import ServiceSettings

from testkit.polling import until

START_SECONDS = 40.0
STOP_SECONDS = 40.0


class Replica:
    """A replica of a service: started with its settings as environment, ready when `/readyz` says so."""

    def __init__(
        self, command: Sequence[str], settings: ServiceSettings, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.settings = settings.model_copy(update={"port": free_port(), "internal_port": free_port()})
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self._command = [sys.executable, *command]
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        given = {**os.environ, **environment_of(self.settings), **self._environment}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # what the test names
                self._command, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._is_ready, START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.kill()
        self._running.wait()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "it was not started"
        return self._process

    def kill(self) -> None:
        """End it as a power cut would."""
        self._running.kill()
        self._running.wait()

    def pause(self) -> None:
        """Let it stand still, as a machine does that is moved or starved."""
        self._running.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it stood."""
        self._running.send_signal(signal.SIGCONT)

    def tell_to_end(self) -> None:
        """Tell it to end, as a deployment does."""
        self._running.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Wait until it has ended; gives its exit code."""
        return self._running.wait(STOP_SECONDS)

    def _is_ready(self) -> bool:
        assert self._running.poll() is None, self._log.read_text()[-2000:]
        try:
            return httpx.get(f"http://127.0.0.1:{self.settings.internal_port}/readyz").is_success
        except httpx.TransportError:
            return False


def environment_of(settings: ServiceSettings) -> dict[str, str]:
    """Write settings down as the variables that they are read from."""
    return {name.upper(): variable(getattr(settings, name)) for name in settings.model_fields_set}


def variable(value: object) -> str:
    """Write down the value of a variable."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if isinstance(value, str) else json.dumps(value)
