"""What a service emits, told apart from what others in its process do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from opentelemetry import trace
from testkit.telemetry_capture import CapturedTelemetry, spans_while_idle


async def test_names_no_span_that_began_before_the_service(captured_telemetry: CapturedTelemetry) -> None:
    tracer = trace.get_tracer("tests")
    before = tracer.start_span("request of the test before")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        before.end()
        tracer.start_span("step").end()
        yield

    assert await spans_while_idle(FastAPI(lifespan=lifespan), captured_telemetry, seconds=0) == ["step"]
