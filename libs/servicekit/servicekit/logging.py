"""Structured logs: one JSON object a line, the same for every sink, never written on the event loop.

Services use the standard library (`logging.getLogger(__name__)`), so that the lines of every library take
the same road. Keys: ts, event, level, service, logger, correlation_id, tenant_id, user_id, trace_id, span_id,
and `fields`, which are also laid flat beside them.
"""

import atexit
import logging
import logging.handlers
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from opentelemetry import trace
from opentelemetry.trace import SpanContext

from servicekit.context import current
from servicekit.log_sinks import Write
from servicekit.settings import ServiceSettings

Writer = Callable[[str, ServiceSettings], Write]

QUEUE_LINES = 20_000
BATCH_LINES = 500
POST_SECONDS = 5.0
# What every record has; all else was given as `extra`.
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
RESERVED = {"ts", "event", "level", "service", "logger", "trace_id", "span_id", "fields", "exception"}


def configure(service: str, settings: ServiceSettings) -> "LogQueue":
    """Send every log line of this process to the sink that the settings name."""
    handler = LogQueue(WRITERS[settings.logging_sink](service, settings))
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, LogQueue):
            old.close()
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    # Their lines repeat ours (`http.response`), or carry whole URLs with tokens in the query.
    for noisy in ("uvicorn.access", "httpx", "httpx2", "httpcore", "httpcore2", "openai.agents"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


class JsonFormatter(logging.Formatter):
    """Format a record as one JSON object, in the schema that every sink receives."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, its keys in reading order."""
        span = trace.get_current_span().get_span_context()
        fields = {
            f"{key}_" if key in RESERVED else key: value
            for key, value in vars(record).items()
            if key not in STANDARD
        }
        line = {
            "ts": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            **current(),
            **(place_in_trace(span) if span.is_valid else {}),
            **fields,
            "fields": fields,
            **({"exception": self.formatException(record.exc_info)} if record.exc_info else {}),
        }
        return orjson.dumps(line, default=str).decode()


def place_in_trace(span: SpanContext) -> dict[str, str]:
    """Return the ids of a trace and of the span in it, as W3C Trace Context writes them."""
    return {
        "trace_id": trace.format_trace_id(span.trace_id),
        "span_id": trace.format_span_id(span.span_id),
    }


class LogQueue(logging.handlers.QueueHandler):
    """Hand lines to a thread of its own; when the sink cannot keep up, lines are dropped and counted."""

    def __init__(self, write: Write) -> None:
        lines: queue.Queue[Any] = queue.Queue(QUEUE_LINES)
        super().__init__(lines)
        self.dropped = 0
        self._listener = BatchListener(lines, write, self._lose)
        self._listener.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; except what the sink's own client logs of a failure, which would fail next."""
        if record.thread != self._listener.thread_id:
            super().emit(record)

    def prepare(self, record: logging.LogRecord) -> str:
        """Return the line; it is formatted here, where the request's context is known."""
        return self.format(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the base class's name
        """Count a line for which the queue has no room."""
        if isinstance(sys.exc_info()[1], queue.Full):
            self.dropped += 1
        else:
            super().handleError(record)

    def flush(self) -> None:
        """Wait (a few seconds at most) until what is queued is written."""
        self._listener.wait_until_written(POST_SECONDS)

    def close(self) -> None:
        """Refuse more lines, write what is queued (for a few seconds at most), and end the thread."""
        logging.getLogger().removeHandler(self)
        atexit.unregister(self.close)
        self._listener.stop()
        super().close()

    def _lose(self, lines: int, error: Exception) -> None:
        self.dropped += lines
        sys.stderr.write(f"log sink failed, {self.dropped} lines lost so far: {type(error).__name__}\n")


class BatchListener(logging.handlers.QueueListener):
    """Write queued lines in batches, on a thread of its own."""

    def __init__(
        self, lines: "queue.Queue[Any]", write: Write, lose: Callable[[int, Exception], None]
    ) -> None:
        super().__init__(lines)
        self._lines, self._write, self._lose = lines, write, lose
        self._batch: list[str] = []

    @property
    def thread_id(self) -> int | None:
        """The thread that writes."""
        return self._thread.ident if self._thread else None

    def handle(self, record: Any) -> None:
        """Add a line to the batch, and write it when it is full or nothing else waits."""
        self._batch.append(record)
        if len(self._batch) >= BATCH_LINES or self._lines.empty():
            self._write_batch()

    def _write_batch(self) -> None:
        batch, self._batch = self._batch, []
        try:
            self._write(batch)
        except Exception as error:  # the outermost loop of a worker; a log of it would come back here
            self._lose(len(batch), error)

    def wait_until_written(self, seconds: float) -> None:
        """Wait until the queue is empty and the last batch is written, for so long at most."""
        deadline = time.monotonic() + seconds
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(0.01)

    def enqueue_sentinel(self) -> None:
        """Queue the end of the thread; raises queue.Full when there is no room in time."""
        self._lines.put(self._sentinel, timeout=POST_SECONDS)  # type: ignore[attr-defined]  # the base's own

    def stop(self) -> None:
        """End the thread, waiting a few seconds at most, where the base class waits for ever."""
        thread, self._thread = self._thread, None
        if thread and thread is not threading.current_thread():
            self.enqueue_sentinel()
            thread.join(POST_SECONDS)
            # The sentinel was still queued when the last line was handled.
            if self._batch and not thread.is_alive():
                self._write_batch()


def to_stdout(_service: str, _settings: ServiceSettings) -> Write:
    """Write to the standard output."""

    def write(lines: Sequence[str]) -> None:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

    return write


def to_datadog(_service: str, settings: ServiceSettings) -> Write:
    """Post to Datadog's HTTP intake."""
    from servicekit.log_sinks import datadog  # noqa: PLC0415  # seldom used: see docs/CONTRIBUTING.md

    return datadog.writer(settings, POST_SECONDS)


def to_otlp(service: str, settings: ServiceSettings) -> Write:
    """Send OTLP log records."""
    from servicekit.log_sinks import otlp  # noqa: PLC0415  # seldom used: see docs/CONTRIBUTING.md

    return otlp.writer(service, settings, POST_SECONDS)


def discard(_service: str, _settings: ServiceSettings) -> Write:
    """Discard all lines."""
    return lambda _lines: None


WRITERS: dict[str, Writer] = {
    "stdout": to_stdout,
    "datadog": to_datadog,
    "otlp": to_otlp,
    "none": discard,
}
