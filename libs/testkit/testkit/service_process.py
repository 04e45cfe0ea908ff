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


class Replica:
    """A replica of a service, as a program that reads its environment from a line of JSON on its input.

    What it imports it can import beforehand, while the test before is still at work.
    """

    def __init__(self, program: Path, log: Path) -> None:
        self.url = ""
        self._inside = ""
        self._log = log
        with log.open("ab") as said:
            self._running = subprocess.Popen(  # noqa: S603  # what the test names
                [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=said, stderr=said
            )

    def begin(self, settings: ServiceSettings, **environment: str) -> Self:
        """Return it its settings, and wait until `/readyz` says that it is ready."""
        own = settings.model_copy(update={"port": free_port(), "internal_port": free_port()})
        self.url, self._inside = (f"http://127.0.0.1:{port}" for port in (own.port, own.internal_port))
        assert self._running.stdin is not None
        self._running.stdin.write(json.dumps({**environment_of(own), **environment}).encode() + b"\n")
        self._running.stdin.close()
        until(self._is_ready, START_SECONDS)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running.stdin is not None:
            self._running.stdin.close()
        self.kill()

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
        """Wait until it has ended; returns its exit code."""
        return self._running.wait(STOP_SECONDS)

    def _is_ready(self) -> bool:
        assert self._running.poll() is None, self._log.read_text()[-2000:]
        try:
            return httpx.get(f"{self._inside}/readyz").is_success
        except httpx.TransportError:
            return False


def environment_of(settings: ServiceSettings) -> dict[str, str]:
    """Write settings down as the variables that they are read from."""
    return {name.upper(): variable(getattr(settings, name)) for name in settings.model_fields_set}


def variable(value: object) -> str:
    """Write down the value of a variable."""
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return plain if isinstance(plain, str) else json.dumps(plain, default=within)


def within(value: object) -> str:
    """Return a value inside of another, for JSON."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
