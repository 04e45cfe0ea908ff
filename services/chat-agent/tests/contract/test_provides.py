"""What other services need of the chat-agent, and whether it answers as its document says."""

import pytest
from chat_agent.main import create_app
from testkit.contracts import assert_answers_as_documented, live_service, operations
from testkit.pact_provider import verify_provider

from .states import STATES


def test_provides_what_others_need(settings, issuer, databases) -> None:
    assert verify_provider(create_app(settings), issuer, states=STATES, reset=databases.empty) > 0


def a_run(person):
    """Make what the paths speak of."""
    received = person.post("/api/v1/chat", json={"message": "Hello"}).json()
    response_id = f"resp_{received['run_id'].replace('-', '')}"
    return {"run_id": received["run_id"], "name": "triage", "response_id": response_id}


@pytest.fixture(scope="module")
def service(settings):
    # Its quotas would answer for it: 429, again and again.
    patient = {"chat_rate_limit_per_minute": 10_000, "chat_stream_rate_limit_per_minute": 10_000}
    changes = {**patient, "chat_stream_concurrent_limit": 1000}
    with live_service(create_app(settings.model_copy(update=changes))) as service:
        yield service


@pytest.mark.parametrize("operation", operations("chat-agent"))
def test_answers_as_its_document_says(operation, service, issuer) -> None:
    assert_answers_as_documented(operation, service, issuer, make_resources=a_run)
