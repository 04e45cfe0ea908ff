"""OpenTelemetry: traces through HTTP, Postgres and Redis, and metrics at `/metrics`.

A trace context travels in and out of every service also when nobody collects the spans.
"""

from typing import Any

import aiohttp
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from servicekit.settings import ServiceSettings

# A standing stream is not a slow request, and a probe is not a request that anybody waits for.
UNTRACED = ("/healthz", "/readyz", "/metrics")


def configure(service: str, settings: ServiceSettings) -> None:
    """Set the process's providers once; spans leave when OTEL_EXPORTER_OTLP_ENDPOINT says where to."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    resource = Resource.create({"service.name": service, "service.namespace": "acme"})
    tracing = TracerProvider(resource=resource)
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
    return [create_trace_config()] if settings.otel_exporter_otlp_endpoint else []


def is_probe(scope: Any) -> bool:
    """Tell whether a request is a probe, which is not worth a span."""
    return scope["path"] in UNTRACED
