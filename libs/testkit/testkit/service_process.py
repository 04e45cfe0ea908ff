"""A service in a process of its own, which a test may end as hard as it likes."""

import json
import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import SecretStr
from sandbox.embedded import free_port
from servicekit.settings import ServiceSettings

from testkit.eventually import MAX_START_SECONDS, until
from testkit.fork_server import ForkServer
from testkit.live_server import NO_AUTHORITIES


class ServiceProcess:
    """A replica of a service, as a process of its own."""

    def __init__(self, server: ForkServer, log: Path) -> None:
        self.url = ""
        self._internal_url = ""
        self._server = server
        self._log = log
        self._pid = 0

    def start(self, settings: ServiceSettings, **environment: str) -> Self:
        """Start it with these settings, and wait until `/readyz` says that it is ready."""
        own = settings.model_copy(update={"port": free_port(), "internal_port": free_port()})
        self.url, self._internal_url = (f"http://127.0.0.1:{port}" for port in (own.port, own.internal_port))
        self._pid = self._server.start({**os.environ, **environment_of(own), **environment}, self._log)
        with httpx.Client(base_url=self._internal_url, verify=NO_AUTHORITIES, timeout=60) as client:
            until(lambda: self._is_ready(client), MAX_START_SECONDS)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._server.poll(self._pid) is None:
            self._send(signal.SIGKILL)
            self.wait()

    def pause(self) -> None:
        """Suspend it, as happens on a machine that is moved or starved."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it where it was suspended."""
        self._send(signal.SIGCONT)

    def terminate(self) -> None:
        """Send SIGTERM, as a deployment does."""
        self._send(signal.SIGTERM)

    def wait(self) -> int:
        """Wait until it has ended; returns its exit code."""
        until(lambda: self._server.poll(self._pid) is not None)
        code = self._server.poll(self._pid)
        assert code is not None
        return code

    def _send(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def _is_ready(self, client: httpx.Client) -> bool:
        assert self._server.poll(self._pid) is None, self._log.read_text()[-2000:]
        try:
            return client.get("/readyz").is_success
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
