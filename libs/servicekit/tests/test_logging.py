import json
import logging as stdlib_logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from servicekit import context, logging
from servicekit.settings import ServiceSettings

logger = stdlib_logging.getLogger("shop")


class Intake(ThreadingHTTPServer):
    """A real HTTP server that keeps what is posted to it, after a delay if one is set."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived = threading.Event()
        self.delay = 0.0
        super().__init__(("127.0.0.1", 0), Post)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Post(BaseHTTPRequestHandler):
    server: Intake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.delay)
        self.server.bodies.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def intake() -> Iterator[Intake]:
    with Intake() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_handler_left() -> Iterator[None]:
    yield
    root = stdlib_logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.LineQueue)]:
        root.removeHandler(handler)
        handler.close()


def settings(**values: object) -> ServiceSettings:
    needed = {
        "database_url": "postgresql://x",
        "redis_url": "redis://x",
        "auth_issuer": "x",
        "auth_jwks_url": "x",
    }
    return ServiceSettings(environment="test", debug=True, **needed, **values)


def test_every_line_has_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    queue = logging.configure("shop", settings())
    with context.scope(correlation_id="r1", tenant_id="t1"):
        context.bind(user_id="user:1")
        logger.warning("till opened", extra={"amount": 7, "event": "clash"})
    queue.flush()
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line.pop("ts").endswith("Z")
    assert line == {
        "event": "till opened",
        "level": "warning",
        "service": "shop",
        "logger": "shop",
        "correlation_id": "r1",
        "tenant_id": "t1",
        "user_id": "user:1",
        "amount": 7,
        "event_": "clash",
        "fields": {"amount": 7, "event_": "clash"},
    }


def test_line_breaks_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    queue = logging.configure("shop", settings())
    logger.info("named", extra={"label": 'x\n{"event":"forged"}\x1b[31m'})
    queue.flush()
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "named"
    assert "\x1b" not in line


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    queue = logging.configure("shop", settings())
    try:
        raise ValueError("the reason")
    except ValueError:
        logger.exception("failed")
    queue.flush()
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert "ValueError: the reason" in line["exception"]


def test_datadog_gets_the_same_lines(intake: Intake) -> None:
    options = {"logging_datadog_api_key": "key-of-ours", "logging_datadog_site": intake.url}
    queue = logging.configure("shop", settings(logging_sink="datadog", **options))
    logger.info("till opened", extra={"amount": 7})
    queue.flush()
    ((path, headers, body),) = intake.bodies
    assert (path, headers["dd-api-key"]) == ("/api/v2/logs", "key-of-ours")
    (entry,) = json.loads(body)
    assert json.loads(entry["message"])["fields"] == {"amount": 7}


def test_otlp_gets_the_same_lines(intake: Intake) -> None:
    options = {"logging_otlp_endpoint": f"{intake.url}/v1/logs", "logging_otlp_headers": {"x-team": "shop"}}
    logging.configure("shop", settings(logging_sink="otlp", **options))
    logger.error("till jammed", extra={"amount": 7})
    assert intake.arrived.wait(10)
    path, headers, body = intake.bodies[0]
    assert (path, headers["x-team"]) == ("/v1/logs", "shop")
    record = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records[0]
    assert json.loads(record.body.string_value)["event"] == "till jammed"
    assert record.severity_text == "ERROR"


def test_a_slow_sink_does_not_hold_up_whoever_logs(intake: Intake) -> None:
    intake.delay = 0.5
    options = {"logging_datadog_api_key": "key-of-ours", "logging_datadog_site": intake.url}
    queue = logging.configure("shop", settings(logging_sink="datadog", **options))
    started = time.perf_counter()
    for number in range(200):
        logger.info("till opened", extra={"number": number})
    assert time.perf_counter() - started < intake.delay
    queue.flush()
    assert sum(len(json.loads(body)) for _, _, body in intake.bodies) == 200


def test_a_full_queue_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "QUEUE_LINES", 2)
    gate = threading.Event()

    def stuck(_lines: object) -> None:
        gate.wait(10)

    queue = logging.LineQueue(stuck)
    for number in range(10):
        queue.handle(stdlib_logging.makeLogRecord({"msg": f"{number}"}))
    assert queue.dropped >= 6
    gate.set()
    queue.close()


def test_none_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    queue = logging.configure("shop", settings(logging_sink="none"))
    logger.info("till opened")
    queue.flush()
    assert capsys.readouterr().out == ""
