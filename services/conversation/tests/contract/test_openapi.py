from uuid import uuid4

import pytest
from conversation.main import create_app
from testkit.contracts import assert_answers_as_documented, live_service, operations


def a_conversation(person):
    """Make what the paths speak of."""
    conversation_id = person.post("/api/v1/conversations", json={}).json()["conversation_id"]
    run_id = str(uuid4())
    items = [{"id": one, "data": {"role": "user", "content": "Hello"}} for one in ("kept", f"{run_id}-1")]
    person.post(f"/api/v1/conversations/{conversation_id}/items", json={"items": items}).raise_for_status()
    return {"conversation_id": conversation_id, "run_id": run_id}


@pytest.fixture(scope="module")
def service(settings):
    with live_service(create_app(settings)) as service:
        yield service


@pytest.mark.parametrize("operation", operations("conversation"))
def test_answers_as_its_documents_say(operation, service, issuer):
    assert_answers_as_documented(operation, service, issuer, make_resources=a_conversation)
