"""Health checks of containers: what they ask, and what asking costs."""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from sandbox.embedded import free_port
from testkit.contract_documents import services

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy" / "healthcheck.sh"
UNREADY = b'{"status":"unavailable","checks":{"database":"ConnectionRefusedError"}}'
IN_PYTHON = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/readyz', timeout=60)"


@contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """Answer every GET, and give the port."""
    handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": answer, "log_message": lambda *_: None})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def answering(status: int, body: bytes = b"") -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def check(port: int, path: str = "/readyz", **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = [] if environment else [str(port)]
    return subprocess.run(
        [SCRIPT, path, *arguments],
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_200_is_healthy() -> None:
    with serving(answering(200)) as port:
        assert check(port).returncode == 0
        assert check(port, INTERNAL_PORT=str(port)).returncode == 0


@pytest.mark.parametrize("status", [204, 301, 404, 500, 503])
def test_any_other_status_is_unhealthy_and_the_answer_is_printed(status: int) -> None:
    with serving(answering(status, UNREADY)) as port:
        checked = check(port)
    assert checked.returncode == 1
    assert str(status) in checked.stdout
    assert UNREADY.decode() in checked.stdout


def test_an_answer_that_does_not_begin_and_a_refused_connection_are_unhealthy() -> None:
    with serving(lambda handler: handler.connection.close()) as port:
        assert check(port).returncode == 1
    assert check(free_port()).returncode == 1


def test_the_path_is_configurable() -> None:
    requests: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        requests.append(handler.path)
        answering(200)(handler)

    with serving(answer) as port:
        check(port, "/healthz")
    assert requests == ["/healthz"]


def cpu_seconds(*command: str | Path) -> float:
    """Run a command ten times, and give the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(10):
        subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_check_costs_a_fraction_of_starting_python() -> None:
    with serving(answering(200)) as port:
        script = cpu_seconds(SCRIPT, "/readyz", str(port))
        python = cpu_seconds(sys.executable, "-c", IN_PYTHON.format(port=port))
    assert script < python / 4


def images() -> list[Path]:
    return [*sorted(ROOT.glob("services/*/Dockerfile")), ROOT / "deploy" / "sandbox" / "Dockerfile"]


@pytest.mark.parametrize("dockerfile", images(), ids=lambda path: path.parent.name)
def test_every_image_has_the_script_and_starts_no_interpreter_to_be_checked(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert "COPY deploy/healthcheck.sh /usr/local/bin/" in text
    assert 'CMD ["healthcheck.sh", "/healthz"' in text.partition("HEALTHCHECK")[2]


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    parts: dict[str, Any] = document["services"]
    return parts


@pytest.mark.parametrize("name", [*services(), "gateway"])
def test_compose_waits_until_a_service_is_ready(name: str) -> None:
    assert compose()[name]["healthcheck"]["test"] == ["CMD", "healthcheck.sh", "/readyz"]


def test_compose_checks_every_part_and_each_waits_only_for_what_does_not_wait_for_it() -> None:
    parts = compose()
    assert [name for name, part in parts.items() if "healthcheck" not in part] == []
    waits_for = {name: part.get("depends_on", {}) for name, part in parts.items()}
    assert all(one["condition"] == "service_healthy" for of in waits_for.values() for one in of.values())
    # Whoever is started once all that it waits for is: a circle would leave somebody out.
    started: set[str] = set()
    while ready := {name for name, of in waits_for.items() if of.keys() <= started} - started:
        started |= ready
    assert started == parts.keys()
