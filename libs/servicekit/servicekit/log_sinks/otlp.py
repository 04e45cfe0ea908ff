"""Sends log lines to an OpenTelemetry collector."""

import time
from collections.abc import Sequence
from datetime import datetime

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from servicekit import telemetry
from servicekit.log_sinks import Write
from servicekit.settings import ServiceSettings

# Keys of a line that are not repeated as attributes: the resource and the scope have them, or they are flat.
IN_RESOURCE = frozenset({"service", "logger", "fields"})
SEVERITIES = {
    "DEBUG": SeverityNumber.DEBUG,
    "INFO": SeverityNumber.INFO,
    "WARNING": SeverityNumber.WARN,
    "ERROR": SeverityNumber.ERROR,
    "CRITICAL": SeverityNumber.FATAL,
}


def writer(service: str, settings: ServiceSettings, timeout: float) -> Write:
    """Send OTLP log records: the body is the line that every sink gets, its keys are attributes too."""
    exporter = OTLPLogExporter(
        endpoint=settings.logging_otlp_endpoint,
        headers=settings.logging_otlp_headers,
        timeout=timeout,
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
