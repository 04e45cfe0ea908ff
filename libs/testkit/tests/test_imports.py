"""What the start of a service does not import: libraries of features that a process may never use."""

import subprocess
import sys

import pytest

EXPORTERS = {"opentelemetry.exporter.otlp", "google.protobuf", "opentelemetry.sdk._logs.export"}
DEFERRED = {
    "auth": EXPORTERS | {"hvac"},
    "billing_webhook": EXPORTERS,
    # The last one is ours: the models of its events are for the document alone.
    "chat_agent": EXPORTERS
    | {"polars", "genai_prices", "any_llm", "jsonschema", "jinja2", "chat_agent.event_log.schemas"},
    "conversation": EXPORTERS,
    "notification": EXPORTERS,
}


@pytest.mark.parametrize("service", DEFERRED)
def test_a_service_starts_without_libraries_of_features_that_it_may_never_use(service: str) -> None:
    code = f"import sys, {service}.main; print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert DEFERRED[service] & set(process.stdout.split()) == set()
