"""OpenTelemetry: traces through HTTP, Postgres and Redis, and metrics at `/metrics`.

A trace context travels in and out of every service also when nobody collects the spans.
"""

from typing import Any

import aiohttp
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.settings import ServiceSettings

# A standing stream is not a slow request, and a probe is not a request that anybody waits for.
UNTRACED = ("/healthz", "/readyz", "/metrics")


class WithoutQueries(SpanProcessor):
    """Takes the query out of what is told of a request: it may carry a token, or what somebody looks for."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Write over the query; FastAPI gives it to every span that it begins."""
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")


def configure(service: str, settings: ServiceSettings) -> None:
    """Set the process's providers once; spans leave when OTEL_EXPORTER_OTLP_ENDPOINT says where to."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    resource = Resource.create({"service.name": service, "service.namespace": "acme"})
    tracing = TracerProvider(resource=resource)
    tracing.add_span_processor(WithoutQueries())
    if settings.otel_exporter_otlp_endpoint:
        tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(tracing)
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()], resource))


def instrument(settings: ServiceSettings, *parts: AsyncEngine | Redis) -> None:
    """Trace what goes out through these, when the spans have somewhere to go."""
    if not settings.otel_exporter_otlp_endpoint:
        return
    for part in parts:
        if isinstance(part, AsyncEngine):
            # The instrumentation does not name 2.1 yet; test_telemetry.py shows that it goes well together.
            SQLAlchemyInstrumentor().instrument(engine=part.sync_engine, skip_dep_check=True)
        else:
            RedisInstrumentor.instrument_client(part)


def client_traces(settings: ServiceSettings) -> list[aiohttp.TraceConfig]:
    """Give what traces calls to other services, when the spans have somewhere to go."""
    if not settings.otel_exporter_otlp_endpoint:
        return []
    return [create_trace_config(url_filter=without_query)]


def without_query(url: object) -> str:
    """Write an address for a span, without what is asked for there."""
    return str(url).partition("?")[0]


def is_probe(scope: Any) -> bool:
    """Tell whether a request is a probe, which is not worth a span."""
    return scope["path"] in UNTRACED
