"""OpenTelemetry: traces through HTTP, Postgres and Redis, and metrics at `/metrics`.

A trace context travels in and out of every service also when nobody collects the spans.
"""

import contextlib
import os
import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

import aiohttp
from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span as RecordingSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanKind, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.settings import ServiceSettings

# Today's HTTP conventions name spans and metrics; it is read once, when the first instrumentation starts.
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
# A probe is not a request that anybody waits for.
UNTRACED = "/healthz,/readyz,/metrics"
# The attributes in which a span has a URL or its query, by the conventions of today and those before.
URL_ATTRIBUTES = ("url.query", "url.full", "http.url", "http.target")
PROPAGATOR = TraceContextTextMapPropagator()
# One process is one instance: its logs, traces and metrics carry the same id.
INSTANCE_ID = str(uuid4())


class OnlyWithinTraces(Sampler):
    """Drops calls to Postgres, Redis and other services that belong to no request, event or job.

    Those are polling: an idle worker makes dozens of them a second, and each would be a trace of its own.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(  # noqa: PLR0913, PLR0917  # the SDK's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Drop a call without a parent, and let the sampler decide on all other spans."""
        if kind is SpanKind.CLIENT and not trace.get_current_span(parent_context).get_span_context().is_valid:
            return SamplingResult(Decision.DROP)
        return self._sampler.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        """Return the sampler's name."""
        return f"WithinWork({self._sampler.get_description()})"


def resource(service: str, settings: ServiceSettings) -> Resource:
    """Return the OpenTelemetry resource of this process."""
    attributes = {
        "service.name": service,
        "service.namespace": "acme",
        "service.instance.id": INSTANCE_ID,
        "deployment.environment.name": settings.environment,
        "host.name": socket.gethostname(),
    }
    # A service that is not installed as a package has no version.
    with contextlib.suppress(PackageNotFoundError):
        attributes["service.version"] = version(f"acme-{service}")
    return Resource.create(attributes)


def configure(service: str, settings: ServiceSettings) -> None:
    """Set the process's providers once; spans leave when OTEL_EXPORTER_OTLP_ENDPOINT says where to."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    origin = resource(service, settings)
    tracing = TracerProvider(resource=origin)
    # Which of the work is sampled stays the operator's to say (OTEL_TRACES_SAMPLER).
    tracing.sampler = OnlyWithinTraces(tracing.sampler)
    if settings.otel_exporter_otlp_endpoint:
        # Seldom used: see docs/CONTRIBUTING.md.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()], origin))


def instrument_app(app: FastAPI) -> None:
    """Trace and count the app's requests, with one span each and none for the chunks of a stream.

    FastAPI's own telemetry stays silent beside it: it recognises the instrumentation and leaves spans,
    metrics and the log of exceptions to it and to us.
    """
    FastAPIInstrumentor.instrument_app(
        app,
        excluded_urls=UNTRACED,
        exclude_spans=["receive", "send"],
        server_request_hook=redact_request,
    )


def redact_request(span: Span, _scope: dict[str, Any]) -> None:
    """Remove the query from the span of a request: it may carry a token, or what somebody searches for."""
    if isinstance(span, RecordingSpan):
        for name in URL_ATTRIBUTES:
            if value := (span.attributes or {}).get(name):
                span.set_attribute(name, "REDACTED" if name == "url.query" else redact_query(value))


def instrument(settings: ServiceSettings, *parts: AsyncEngine | Redis) -> None:
    """Trace calls to Postgres and Redis, if an exporter is configured."""
    if not settings.otel_exporter_otlp_endpoint:
        return
    for part in parts:
        if isinstance(part, AsyncEngine):
            # The instrumentation does not name 2.1 yet; test_telemetry.py shows that it goes well together.
            SQLAlchemyInstrumentor().instrument(engine=part.sync_engine, skip_dep_check=True)
        else:
            RedisInstrumentor.instrument_client(part)


def traceparent() -> str | None:
    """Return the current trace context, to be stored with work that is done later."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def parent(traceparent: str | None) -> Context:
    """Return the context that continues the trace of stored work."""
    return PROPAGATOR.extract({"traceparent": traceparent or ""})


def client_traces(settings: ServiceSettings) -> list[aiohttp.TraceConfig]:
    """Return the tracing of calls to other services, if an exporter is configured."""
    if not settings.otel_exporter_otlp_endpoint:
        return []
    return [create_trace_config(url_filter=redact_query)]


def redact_query(url: object) -> str:
    """Return a URL without its query."""
    return str(url).partition("?")[0]
