import json
import logging as stdlib_logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.sdk.trace import TracerProvider
from servicekit import context, logging, telemetry
from servicekit.settings import ServiceSettings
from testkit.eventually import until

logger = stdlib_logging.getLogger("shop")
# For so long whoever logs would be held up by a sink that is closed.
HELD_UP_SECONDS = 60


class Intake(ThreadingHTTPServer):
    """A real HTTP server that keeps what is posted to it, as soon as it is open."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, str], bytes]] = []
        self.arrived = threading.Event()
        self.open = threading.Event()
        self.open.set()
        super().__init__(("127.0.0.1", 0), Post)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Post(BaseHTTPRequestHandler):
    server: Intake

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.open.wait(HELD_UP_SECONDS)
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
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.LogQueue)]:
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


@pytest.fixture
def exported(intake: Intake) -> Callable[[], list[tuple[dict[str, object], LogRecord]]]:
    """Decode what has been posted: each record with the attributes of its resource."""

    def decode() -> list[tuple[dict[str, object], LogRecord]]:
        return [
            (plain(resource.resource.attributes), record)
            for _, _, body in intake.bodies
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    return decode


def plain(attributes: Iterable[KeyValue]) -> dict[str, object]:
    """Read OTLP attributes as Python values."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def otlp(intake: Intake) -> logging.LogQueue:
    options = {"logging_otlp_endpoint": f"{intake.url}/v1/logs", "logging_otlp_headers": {"x-team": "shop"}}
    return logging.configure("shop", settings(logging_sink="otlp", **options))


def test_otlp_gets_the_same_lines(intake: Intake, exported) -> None:
    queue = otlp(intake)
    logger.error("till jammed", extra={"amount": 7})
    queue.flush()
    path, headers, _ = intake.bodies[0]
    assert (path, headers["x-team"]) == ("/v1/logs", "shop")
    ((_, record),) = exported()
    line = json.loads(record.body.string_value)
    assert (line["event"], line["fields"]) == ("till jammed", {"amount": 7})


def test_an_otlp_record_says_who_when_how_bad_and_in_which_trace(intake: Intake, exported) -> None:
    queue = otlp(intake)
    before = time.time_ns()
    with (
        context.scope(correlation_id="r1", tenant_id="t1"),
        TracerProvider().get_tracer("test").start_as_current_span("sale") as span,
    ):
        logger.warning("till jammed", extra={"amount": 7, "drawer": {"coins": [1, 2]}})
    queue.flush()
    ((resource, record),) = exported()
    assert (resource["service.name"], resource["service.namespace"]) == ("shop", "acme")
    assert resource["deployment.environment.name"] == "test"
    assert UUID(str(resource["service.instance.id"]))
    assert before - 1_000_000 <= record.time_unix_nano <= record.observed_time_unix_nano <= time.time_ns()
    assert (record.severity_number, record.severity_text) == (13, "WARNING")
    assert int.from_bytes(record.trace_id) == span.get_span_context().trace_id
    assert int.from_bytes(record.span_id) == span.get_span_context().span_id
    attributes = plain(record.attributes)
    assert attributes.pop("drawer")
    assert attributes == {"event": "till jammed", "correlation_id": "r1", "tenant_id": "t1", "amount": 7}


def test_an_otlp_record_outside_of_a_trace_has_none(intake: Intake, exported) -> None:
    queue = otlp(intake)
    try:
        raise ValueError("the reason")
    except ValueError:
        logger.exception("till jammed")
    queue.flush()
    ((_, record),) = exported()
    assert (record.trace_id, record.span_id, record.severity_number) == (b"", b"", 17)
    assert "ValueError: the reason" in str(plain(record.attributes)["exception.stacktrace"])


def test_every_service_names_its_version() -> None:
    for service in ("auth", "chat-agent", "conversation", "billing-webhook", "notification"):
        assert telemetry.resource(service, settings()).attributes["service.version"]


def test_a_dead_collector_costs_lines_and_makes_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # For so long the exporter tries again and again.
    monkeypatch.setattr(logging, "POST_SECONDS", 0.1)
    queue = logging.configure(
        "shop", settings(logging_sink="otlp", logging_otlp_endpoint="http://127.0.0.1:9/v1/logs")
    )
    logger.info("till opened")
    until(lambda: queue.dropped)
    assert queue.dropped == 1
    assert "1 lines lost so far" in capsys.readouterr().err


def test_a_slow_sink_does_not_hold_up_whoever_logs(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "POST_SECONDS", 2 * HELD_UP_SECONDS)
    intake.open.clear()
    options = {"logging_datadog_api_key": "key-of-ours", "logging_datadog_site": intake.url}
    queue = logging.configure("shop", settings(logging_sink="datadog", **options))
    for number in range(200):
        logger.info("till opened", extra={"number": number})
    assert intake.bodies == []
    intake.open.set()
    queue.flush()
    assert sum(len(json.loads(body)) for _, _, body in intake.bodies) == 200


def test_a_full_queue_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "QUEUE_LINES", 2)
    gate = threading.Event()

    def stuck(_lines: object) -> None:
        gate.wait(HELD_UP_SECONDS)

    queue = logging.LogQueue(stuck)
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
