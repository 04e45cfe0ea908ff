"""All that leaves a service for those who run it: its logs, its traces and its metrics.

async with running(create_app(settings_with(captured_telemetry.settings))) as app:
    ...
assert captured_telemetry.leaks(password, token) == []
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast
from urllib.parse import quote

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from servicekit import telemetry
from servicekit.settings import ServiceSettings

# An answer could be found to be short by chance; what is not secret is not worth a look.
MIN_SECRET_LENGTH = 6
SETTINGS: Any = {
    "environment": "test",
    "debug": True,
    "database_url": "postgresql://nowhere",
    "redis_url": "redis://nowhere",
    "auth_issuer": "nobody",
    "auth_jwks_url": "http://nowhere",
}


class CapturedTelemetry:
    """What a service has emitted since it was started with `settings`; it must run in this process."""

    # Spans are made where they have somewhere to go; here that is this process, and nobody listens there.
    settings: ClassVar[Mapping[str, str]] = {
        "logging_sink": "stdout",
        "log_level": "DEBUG",
        "otel_exporter_otlp_endpoint": "http://127.0.0.1:9",
    }

    def __init__(self, spans: InMemorySpanExporter, printed: Callable[[], str]) -> None:
        self._spans = spans
        self._printed = printed
        self._logs = ""

    @property
    def logs(self) -> str:
        """The lines of the log."""
        for handler in logging.getLogger().handlers:
            handler.flush()
        self._logs += self._printed()
        return self._logs

    @property
    def traces(self) -> str:
        """The spans, with their attributes, events, exceptions and states."""
        return "\n".join(cast("str", span.to_json(indent=None)) for span in self.spans)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The spans that have ended."""
        return self._spans.get_finished_spans()

    @property
    def instrumented_libraries(self) -> set[str]:
        """What has been traced: `fastapi`, `sqlalchemy`, `redis`, `aiohttp_client`."""
        scopes = (span.instrumentation_scope for span in self.spans)
        return {scope.name.rpartition(".")[2] for scope in scopes if scope}

    @property
    def metrics(self) -> str:
        """What `/metrics` tells."""
        return generate_latest().decode()

    def leaks(self, *secrets: str) -> list[str]:
        """Return which of the secrets are shown, and where: as they are, in a URL, or in JSON."""
        places = {"logs": self.logs, "traces": self.traces, "metrics": self.metrics}
        return [
            f"{place}: {secret}"
            for secret in secrets
            for place, text in places.items()
            if len(secret) >= MIN_SECRET_LENGTH and any(form in text for form in encodings(secret))
        ]


def encodings(secret: str) -> set[str]:
    """Return the ways in which a text may be written."""
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}


async def spans_while_idle(app: FastAPI, telemetry: CapturedTelemetry, seconds: float = 3) -> list[str]:
    """Start a service with its workers, let it idle, stop it, and name the spans that it made.

    A server of the test before, in a thread of this process, may only now end the span of its last answer.
    """
    began = time.time_ns()
    async with app.router.lifespan_context(app):
        await asyncio.sleep(seconds)
    return [span.name for span in telemetry.spans if (span.start_time or 0) >= began]


@contextmanager
def capture_telemetry(printed: Callable[[], str]) -> Iterator[CapturedTelemetry]:
    """Record the spans of this process for as long as the block lasts; `printed` returns its output."""
    # As a service does, but that spans go nowhere else; the first one in a process decides.
    telemetry.configure("tests", ServiceSettings(**SETTINGS))
    spans = InMemorySpanExporter()
    cast("TracerProvider", trace.get_tracer_provider()).add_span_processor(SimpleSpanProcessor(spans))
    try:
        yield CapturedTelemetry(spans, printed)
    finally:
        spans.shutdown()
        # It takes one engine at a time, and the next service has another.
        if (tracer := SQLAlchemyInstrumentor()).is_instrumented_by_opentelemetry:
            tracer.uninstrument()
