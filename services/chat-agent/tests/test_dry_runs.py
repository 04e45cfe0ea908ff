"""Dry runs: what a definition would do, before it is published."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from .client_helpers import RUNS, error_of
from .test_agent_definitions import AGENTS, definition, published, save

Person = Callable[..., httpx.Client]


def dry_run(client: httpx.Client, message: str = "Hello", **body: Any) -> httpx.Response:
    return client.post(f"{AGENTS}/support/dry-run", json={"message": message, **body})


def answer(client: httpx.Client, message: str = "Hello", **body: Any) -> dict[str, Any]:
    response = dry_run(client, message, **body)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_draft_answers_and_nothing_is_stored(admin: httpx.Client) -> None:
    published(admin, "support", output_schema=None)
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}}
    draft = save(admin, "support", output_schema=schema)
    response = dry_run(admin)
    body = response.json()
    assert (body["calls"], body["agent"], body["text"][:8]) == ([], "support", '{"mood":')
    assert body["model"]
    assert body["usage"]["input_tokens"] > 0
    assert "cost" in body["usage"]
    stored = admin.get(f"{RUNS}/{response.headers['Acme-Run-Id']}")
    assert (stored.json()["status"], stored.json()["usage"]) == ("completed", body["usage"])
    version = {"name": "support", "number": 0, "digest": draft["digest"]}
    assert stored.json()["agent_versions"] == [version]
    assert "mood" not in stored.text
    assert "Hello" not in stored.text
    assert admin.get(f"{AGENTS}/support").json()["draft"] == 2


def test_the_first_call_of_a_tool_ends_it(admin: httpx.Client) -> None:
    published(admin, "clerk", description="Knows the files.", tools=[{"name": "current_time"}])
    tools = [{"name": "current_time"}, {"name": "forget_conversation"}]
    written = definition(tools=tools, handoffs=["clerk", "triage"], as_tools=["clerk"])
    own = ("current_time", "forget_conversation", "ask_clerk")
    for name in (*own, "transfer_to_clerk", "transfer_to_triage"):
        body = answer(admin, f"Now [sandbox: call={name}]", definition=written)
        assert [call["name"] for call in body["calls"]] == [name]
        assert (body["agent"], body["usage"]["requests"]) == ("support", 1)
    assert error_of(admin.get(f"{AGENTS}/support")) == (404, "agent_not_found")


def test_variables_have_values(admin: httpx.Client) -> None:
    written = definition(instructions="You help {{company}}.", variables={"company": {}})
    assert error_of(dry_run(admin, definition=written)) == (400, "invalid_variables")
    assert answer(admin, definition=written, variables={"company": "Initech"})["text"]


def test_what_cannot_be_published_is_not_run(admin: httpx.Client) -> None:
    response = dry_run(admin, definition=definition(tools=[{"name": "launch"}]))
    assert error_of(response) == (422, "invalid_agent_definition")
    assert response.json()["problems"][0]["path"] == "tools[0].name"
    assert error_of(dry_run(admin)) == (404, "agent_not_found")
    published(admin, "support")
    assert error_of(dry_run(admin)) == (404, "agent_version_not_found")


def test_a_model_that_fails_is_an_error(admin: httpx.Client) -> None:
    response = dry_run(admin, "Hello [sandbox: error=400]", definition=definition())
    assert error_of(response) == (502, "model_refused_request")


@pytest.mark.parametrize("role", ["viewer", "member"])
def test_only_authors_of_agents_may(person: Person, tenant: UUID, admin: httpx.Client, role: str) -> None:
    save(admin, "support")
    assert error_of(dry_run(person(tenant, role=role))) == (403, "forbidden")
