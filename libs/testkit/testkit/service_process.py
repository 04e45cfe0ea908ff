"""A service in a process of its own, which a test may end as hard as it likes."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import SecretStr
from sandbox.embedded import free_port
from servicekit.settings import ServiceSettings

from testkit.eventually import until

START_SECONDS = 40.0
STOP_SECONDS = 40.0


class ServiceProcess:
    """A replica of a service, as a program that reads its environment from a line of JSON on its input.

    What it imports it can import beforehand, while the test before is still at work.
    """

    def __init__(self, program: Path, log: Path) -> None:
        self.url = ""
        self._internal_url = ""
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # what the test names
                [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=output, stderr=output
            )

    def start(self, settings: ServiceSettings, **environment: str) -> Self:
        """Return it its settings, and wait until `/readyz` says that it is ready."""
        own = settings.model_copy(update={"port": free_port(), "internal_port": free_port()})
        self.url, self._internal_url = (f"http://127.0.0.1:{port}" for port in (own.port, own.internal_port))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**environment_of(own), **environment}).encode() + b"\n")
        self._process.stdin.close()
        until(self._is_ready, START_SECONDS)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Suspend it, as happens on a machine that is moved or starved."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it where it was suspended."""
        self._process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), as a deployment does."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended; returns its exit code."""
        return self._process.wait(STOP_SECONDS)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        try:
            return httpx.get(f"{self._internal_url}/readyz").is_success
        except httpx.TransportError:
            return False


def environment_of(settings: ServiceSettings) -> dict[str, str]:
    """Write settings down as the variables that they are read from."""
    return {name.upper(): variable(getattr(settings, name)) for name in settings.model_fields_set}


def variable(value: object) -> str:
    """Write down the value of a variable."""
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return plain if isinstance(plain, str) else json.dumps(plain, default=json_default)


def json_default(value: object) -> str:
    """Return a value inside of another, for JSON."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
