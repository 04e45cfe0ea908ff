"""Structured logs: one JSON object a line, the same for every sink, never written on the event loop.

Services use the standard library (`logging.getLogger(__name__)`), so that the lines of every library take
the same road. Keys: ts, event, level, service, logger, correlation_id, tenant_id, user_id, trace_id, span_id,
and `fields`, which are also laid flat beside them.
"""

import atexit
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import httpx
import orjson
import structlog
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext
from structlog.types import EventDict, WrappedLogger

from servicekit import telemetry
from servicekit.context import current
from servicekit.settings import ServiceSettings

Write = Callable[[Sequence[str]], None]
Writer = Callable[[str, ServiceSettings], Write]

QUEUE_LINES = 20_000
BATCH_LINES = 500
POST_SECONDS = 5.0
# What every record has; all else was given as `extra`.
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
RESERVED = {"ts", "event", "level", "service", "logger", "trace_id", "span_id", "fields", "exception"}


def configure(service: str, settings: ServiceSettings) -> "LineQueue":
    """Send every log line of this process to the sink that the settings name."""
    handler = LineQueue(WRITERS[settings.logging_sink](service, settings))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level],
            processors=[
                structlog.processors.format_exc_info,
                JsonFormatter(service),
                lambda _logger, _name, line: orjson.dumps(line, default=str).decode(),
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, LineQueue):
            old.close()
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    # Their lines repeat ours (`http.response`), or carry whole URLs with tokens in the query.
    for noisy in ("uvicorn.access", "httpx", "httpx2", "httpcore", "httpcore2", "openai.agents"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


class JsonFormatter:
    """Lay one event out in the schema that every sink receives."""

    def __init__(self, service: str) -> None:
        self.service = service

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> dict[str, Any]:
        """Give the line as a mapping, in reading order."""
        record: logging.LogRecord = event["_record"]
        exception = event.get("exception")
        span = trace.get_current_span().get_span_context()
        fields = {
            f"{key}_" if key in RESERVED else key: value
            for key, value in vars(record).items()
            if key not in STANDARD
        }
        return {
            "ts": structlog.processors.TimeStamper(fmt="iso", utc=True)(None, "", {})["timestamp"],
            "event": event["event"],
            "level": event["level"],
            "service": self.service,
            "logger": record.name,
            **current(),
            **(place_in_trace(span) if span.is_valid else {}),
            **fields,
            "fields": fields,
            **({"exception": exception} if exception else {}),
        }


def place_in_trace(span: SpanContext) -> dict[str, str]:
    """Return the ids of a trace and of the span in it, as W3C Trace Context writes them."""
    return {
        "trace_id": trace.format_trace_id(span.trace_id),
        "span_id": trace.format_span_id(span.span_id),
    }


class LineQueue(logging.Handler):
    """Hands lines to a thread of its own; when the sink cannot keep up, lines are dropped and counted."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self.dropped = 0
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(QUEUE_LINES)
        self._thread = threading.Thread(target=self._drain, name="logs", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """Format here, where the request's context is known, and queue."""
        if record.thread == self._thread.ident:
            # What the sink's own client logs of a failure would be the next thing that fails.
            return
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def flush(self) -> None:
        """Wait (a few seconds at most) until what is queued is written."""
        deadline = time.monotonic() + POST_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        """Take no more lines, write what is queued (for a few seconds at most), and end the thread."""
        logging.getLogger().removeHandler(self)
        atexit.unregister(self.close)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._lines.put(None, timeout=POST_SECONDS)
            self._thread.join(POST_SECONDS)
        super().close()

    def _drain(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._write(batch)
            except Exception as error:  # the outermost loop of a worker; a log of it would come back here
                self.dropped += len(batch)
                sys.stderr.write(
                    f"log sink failed, {self.dropped} lines lost so far: {type(error).__name__}\n"
                )
            for _ in batch:
                self._lines.task_done()

    def _next_batch(self) -> list[str] | None:
        line = self._lines.get()
        if line is None:
            return None
        batch = [line]
        while len(batch) < BATCH_LINES and not self._lines.empty():
            line = self._lines.get_nowait()
            if line is None:
                self._lines.put(None)
                break
            batch.append(line)
        return batch


def to_stdout(_service: str, _settings: ServiceSettings) -> Write:
    """Write to the standard output."""

    def write(lines: Sequence[str]) -> None:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    return write


def to_datadog(_service: str, settings: ServiceSettings) -> Write:
    """Post to Datadog's HTTP intake (docs.datadoghq.com/api/latest/logs, `POST /api/v2/logs`)."""
    assert settings.logging_datadog_api_key  # noqa: S101  # the settings refuse to boot without it
    client = httpx.Client(
        base_url=datadog_intake(settings.logging_datadog_site),
        headers={
            "DD-API-KEY": settings.logging_datadog_api_key.get_secret_value(),
            "Content-Type": "application/json",
        },
        timeout=POST_SECONDS,
        transport=httpx.HTTPTransport(retries=2),
    )

    def write(lines: Sequence[str]) -> None:
        entries = [{"message": line, "ddsource": "acme"} for line in lines]
        client.post("/api/v2/logs", content=orjson.dumps(entries)).raise_for_status()

    return write


def datadog_intake(site: str) -> str:
    """Give the address of a site's intake; a whole URL is taken as it is (a proxy, or an agent)."""
    return site if "://" in site else f"https://http-intake.logs.{site}"


def to_otlp(service: str, settings: ServiceSettings) -> Write:
    """Send OTLP log records: the body is the line that every sink gets, its keys are attributes too."""
    exporter = OTLPLogExporter(
        endpoint=settings.logging_otlp_endpoint, headers=settings.logging_otlp_headers, timeout=POST_SECONDS
    )
    origin = telemetry.resource(service, settings)

    def write(lines: Sequence[str]) -> None:
        if exporter.export([otlp_record(line, origin) for line in lines]) is LogRecordExportResult.FAILURE:
            raise ConnectionError("the collector did not take the log records")

    return write


def otlp_record(line: str, origin: Resource) -> ReadableLogRecord:
    """Read a line back into an OTLP log record (opentelemetry.io/docs/specs/otel/logs/data-model)."""
    keys = orjson.loads(line)
    level = keys.pop("level").upper()
    trace_id, span_id = (int(keys.pop(name, "0"), 16) or None for name in ("trace_id", "span_id"))
    named = {"exception.stacktrace": keys.pop("exception")} if "exception" in keys else {}
    record = LogRecord(
        timestamp=nanoseconds(keys.pop("ts")),
        observed_timestamp=time.time_ns(),
        severity_text=level,
        severity_number=SEVERITIES.get(level, SeverityNumber.INFO),
        body=line,
        attributes={name: value for name, value in keys.items() if name not in IN_RESOURCE} | named,
        trace_id=trace_id,
        span_id=span_id,
    )
    scope = InstrumentationScope(keys["logger"])
    return ReadableLogRecord(log_record=record, resource=origin, instrumentation_scope=scope)


def nanoseconds(moment: str) -> int:
    """Return the nanoseconds since 1970 of a line's time, which has microseconds."""
    return round(datetime.fromisoformat(moment).timestamp() * 1e6) * 1000


def discard(_service: str, _settings: ServiceSettings) -> Write:
    """Write nothing."""
    return lambda _lines: None


# Keys of a line that are not repeated as attributes: the resource and the scope have them, or they are flat.
IN_RESOURCE = frozenset({"service", "logger", "fields"})
SEVERITIES = {
    "DEBUG": SeverityNumber.DEBUG,
    "INFO": SeverityNumber.INFO,
    "WARNING": SeverityNumber.WARN,
    "ERROR": SeverityNumber.ERROR,
    "CRITICAL": SeverityNumber.FATAL,
}
WRITERS: dict[str, Writer] = {
    "stdout": to_stdout,
    "datadog": to_datadog,
    "otlp": to_otlp,
    "none": discard,
}
