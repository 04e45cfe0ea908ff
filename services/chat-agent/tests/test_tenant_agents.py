"""Runs of a tenant's own agents: in every protocol, and in the version with which they began."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.agent_definitions import selection
from chat_agent.direct_models import DirectModel
from chat_agent.main import create_app
from chat_agent.settings import Settings
from testkit.databases import query
from testkit.fork_server import ForkServer
from testkit.issuer import Issuer
from testkit.live_server import NO_AUTHORITIES, serving
from testkit.service_process import ServiceProcess
from testkit.sse import events

from .client_helpers import CHAT, RUNS, error_of, read_events, read_run, start_run, wait_until_finished
from .test_agent_definitions import AGENTS, definition, published, save

REPLICA = Path(__file__).parent / "replica.py"
FORGET = {"name": "forget_conversation"}
Call = dict[str, Any]


@pytest.fixture(scope="module")
def model_url(recorded_model_url: str) -> str:
    return recorded_model_url


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    models = {"openai/sandbox-small": DirectModel(tenants=frozenset({"*"}))}
    return settings.model_copy(update={"direct_models": models, "run_lease_seconds": 5.0})


def chat(client: httpx.Client, message: str = "Hello", agent: str = "support", **more: Any) -> dict[str, Any]:
    response = client.post(CHAT, json={"message": message, "agent_type": agent, **more})
    assert response.status_code == 200, response.text
    return response.json()


def versions(run: dict[str, Any]) -> dict[str, int | None]:
    return {one["name"]: one["number"] for one in run["agent_versions"]}


def instructions_sent_with(model_calls: list[Call], text: str) -> list[str]:
    """Return the instructions with which the model was sent a text."""
    return [call["instructions"] for call in model_calls if text in json.dumps(call["input"])]


def test_a_run_names_the_version_of_each_agent(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", instructions="You are a clerk.")
    detail = published(admin, "support", handoffs=["clerk", "code_assistant"])
    answer = chat(member)
    run = read_run(member, {"id": answer["run_id"]})
    assert (answer["agent_used"], run["agent"], run["status"]) == ("support", "support", "completed")
    assert versions(run) == {"support": 1, "clerk": 1, "code_assistant": None}
    digests = {one["name"]: one["digest"] for one in run["agent_versions"]}
    assert digests["support"] == detail["stable"]["digest"]
    assert all(digest.startswith("sha256:") for digest in digests.values())
    (listed,) = member.get(RUNS).json()["items"]
    assert listed["agent_versions"] == run["agent_versions"]
    of_service = versions(read_run(member, {"id": chat(member, agent="triage")["run_id"]}))
    assert {"triage", "code_assistant"} <= of_service.keys()
    assert {*of_service.values()} == {None}


def test_an_agent_is_what_its_definition_says(
    admin: httpx.Client, member: httpx.Client, model_calls: list[Call]
) -> None:
    published(
        admin,
        "support",
        instructions="You help {{company}}, {{ level }}, {{vip}}.",
        variables={
            "company": {},
            "level": {"type": "integer", "default": 3},
            "vip": {"type": "boolean", "default": True},
        },
        model="openai/sandbox-small",
        settings={"temperature": 0.25, "max_output_tokens": 77},
        tools=[{"name": "current_time"}],
    )
    question = f"Hello {uuid4()}"
    answer = chat(member, question, variables={"company": "Initech", "level": 7})
    (call,) = [one for one in model_calls if question in json.dumps(one["input"])]
    assert call["instructions"] == "You help Initech, 7, true."
    assert (call["model"], call["temperature"], call["max_output_tokens"]) == ("sandbox-small", 0.25, 77)
    assert [tool["name"] for tool in call["tools"]] == ["current_time"]
    assert read_run(member, {"id": answer["run_id"]})["model"] == "sandbox-small"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "needs a value for the variable 'company'"),
        ({"company": 3}, "not of the type string"),
        ({"company": "Initech", "other": "x"}, "no variable called 'other'"),
    ],
)
def test_values_of_variables_are_checked(
    admin: httpx.Client, member: httpx.Client, variables: dict[str, Any], message: str
) -> None:
    published(admin, "support", instructions="{{company}}", variables={"company": {"type": "string"}})
    body = {"message": "Hello", "agent_type": "support", "variables": variables}
    response = member.post(CHAT, json=body)
    assert error_of(response) == (400, "invalid_variables")
    assert message in response.json()["detail"]


def test_drafts_and_agents_of_other_tenants_do_not_answer(
    admin: httpx.Client, member: httpx.Client, person: Callable[..., httpx.Client], model_calls: list[Call]
) -> None:
    save(admin, "support")
    body = {"message": "Hello", "agent_type": "support"}
    assert error_of(member.post(CHAT, json=body)) == (404, "agent_not_found")
    published(admin, "support", instructions="One.")
    stranger = person(uuid4(), role="admin")
    assert error_of(stranger.post(CHAT, json=body)) == (404, "agent_not_found")
    published(stranger, "support", instructions="Other.")
    question = f"Hello {uuid4()}"
    for client in (member, stranger):
        chat(client, question)
    assert instructions_sent_with(model_calls, question) == ["One.", "Other."]


def test_an_internal_agent_answers_by_a_handoff_alone(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", visibility="internal")
    published(admin, "support", handoffs=["clerk"])
    body = {"message": "Hello", "agent_type": "clerk"}
    assert error_of(member.post(CHAT, json=body)) == (404, "agent_not_found")
    answer = chat(member, "Hello [sandbox: call=transfer_to_clerk]")
    assert (answer["agent_used"], answer["handoff_occurred"]) == ("clerk", True)
    assert "clerk" not in {agent["name"] for agent in member.get(AGENTS).json()}


def test_a_process_without_room_for_versions_executes_all(
    admin: httpx.Client, member: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "MAX_REMEMBERED", 0)
    published(admin, "clerk")
    published(admin, "support", handoffs=["clerk"])
    assert chat(member, "Hello [sandbox: call=transfer_to_clerk]")["agent_used"] == "clerk"


def test_handoffs_in_a_circle_end(admin: httpx.Client, member: httpx.Client) -> None:
    documents = [
        {"name": "first", "definition": definition(handoffs=["second"])},
        {"name": "second", "definition": definition(handoffs=["first"])},
    ]
    admin.post(f"{AGENTS}/apply", json={"agents": documents, "dry_run": False}).raise_for_status()
    answer = chat(member, "Go [sandbox: call=transfer_to_second, call=transfer_to_first]", agent="first")
    run = read_run(member, {"id": answer["run_id"]})
    assert (run["handoffs"], run["final_agent"]) == (["second", "first"], "first")


def test_an_agent_is_called_as_a_tool(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "clerk", description="Knows the files.", instructions="You are a clerk.")
    published(admin, "support", as_tools=["clerk"])
    run = start_run(member, "Ask [sandbox: call=ask_clerk]", agent_type="support")
    received = read_events(member, run)
    (called,) = [event.data for event in received if event.type == "tool.called"]
    (output,) = [event.data for event in received if event.type == "tool.output"]
    assert (called["name"], output["name"]) == ("ask_clerk", "ask_clerk")
    assert received[-1].type == "run.completed"
    assert received[-1].data["agent"] == "support"


def test_an_answer_is_of_the_schema_of_the_agent(admin: httpx.Client, member: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"mood": {"type": "string"}, "score": {"type": "integer"}}}
    published(admin, "support", output_schema=schema)
    answer = json.loads(chat(member)["response"])
    assert answer.keys() == {"mood", "score"}


def test_limits_of_an_agent_end_its_run(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "support", tools=[{"name": "current_time"}], limits={"turns": 1})
    run = start_run(member, "Now [sandbox: call=current_time]", agent_type="support")
    assert wait_until_finished(member, run)["error_code"] == "max_turns_exceeded"
    published(admin, "support", tools=[{"name": "current_time"}], limits={"tokens": 5})
    run = start_run(member, "Now [sandbox: call=current_time]", agent_type="support")
    assert wait_until_finished(member, run)["error_code"] == "token_budget_exceeded"


def test_lists_show_the_agents_of_the_tenant(admin: httpx.Client, member: httpx.Client) -> None:
    published(
        admin,
        "support",
        description="Helps.",
        starters=["Hi"],
        handoffs=["triage"],
        as_tools=["data_analyst"],
    )
    agents = {agent["name"]: agent for agent in member.get(AGENTS).json()}
    assert agents["support"] == {
        "name": "support",
        "status": "active",
        "description": "Helps.",
        "handoffs": ["triage"],
        "tools": ["ask_data_analyst"],
        "source": "tenant",
        "version": 1,
        "starters": ["Hi"],
        "variables": [],
    }
    assert (agents["triage"]["source"], agents["triage"]["version"]) == ("service", None)
    models = {model["id"]: model for model in member.get("/v1/models").json()["data"]}
    assert (models["support"]["owned_by"], models["support"]["description"]) == ("tenant", "Helps.")
    assert member.get("/v1/models/support").json()["id"] == "support"
    assert member.get(f"{AGENTS}/support/status").json()["name"] == "support"


def test_a_handoff_to_an_agent_of_the_service_over_the_openai_surface(
    admin: httpx.Client, member: httpx.Client
) -> None:
    published(admin, "support", handoffs=["code_assistant"])
    message = {"role": "user", "content": "Review this Python function."}
    completion = member.post("/v1/chat/completions", json={"model": "support", "messages": [message]}).json()
    assert completion["model"] == "support"
    run = read_run(member, {"id": completion["id"].removeprefix("chatcmpl-")})
    assert (run["handoffs"], run["final_agent"]) == (["code_assistant"], "code_assistant")
    response = member.post("/v1/responses", json={"model": "support", "input": message["content"]}).json()
    assert (response["status"], response["model"]) == ("completed", "support")


def test_an_agent_answers_frontends(admin: httpx.Client, member: httpx.Client) -> None:
    published(admin, "support", tools=[{"name": "current_time"}])
    part = {"type": "text", "text": "Hello"}
    ui = {
        "id": str(uuid4()),
        "agent_type": "support",
        "messages": [{"id": "m", "role": "user", "parts": [part]}],
    }
    assert '"finish"' in member.post("/api/v1/chat/ui", json=ui).text
    messages = [{"id": "m", "role": "user", "content": "Hello"}]
    thread = {"threadId": str(uuid4()), "runId": "r", "messages": messages}
    assert "RUN_FINISHED" in member.post(f"{AGENTS}/support/ag-ui", json=thread).text
    taken = {"name": "current_time", "description": "", "parameters": {"type": "object", "properties": {}}}
    refused = member.post(f"{AGENTS}/support/ag-ui", json={**thread, "tools": [taken]})
    assert error_of(refused) == (400, "invalid_parameter")


def test_a_canary_answers_its_share_and_always_the_same_conversations(
    admin: httpx.Client, member: httpx.Client, other_url: str
) -> None:
    published(admin, "support", instructions="Stable.")
    save(admin, "support", instructions="Canary.")
    admin.post(f"{AGENTS}/support/publish", json={"percentage": 30}).raise_for_status()
    answered: dict[str, int | None] = {}
    while not (1 in answered.values() and 2 in answered.values()):
        answer = chat(member)
        answered[answer["conversation_id"]] = versions(read_run(member, {"id": answer["run_id"]}))["support"]
    for conversation_id, number in answered.items():
        body = {"message": "Again", "agent_type": "support", "conversation_id": conversation_id}
        for at in ("", other_url):
            run = member.post(f"{at}{RUNS}", json=body).json()
            assert versions(run)["support"] == number
            wait_until_finished(member, run)


def waiting(client: httpx.Client) -> dict[str, Any]:
    message = f"Forget it [sandbox: call=forget_conversation] {uuid4()}"
    run = wait_until_finished(client, start_run(client, message, agent_type="support"))
    assert run["status"] == "waiting", run
    return run


def approve(client: httpx.Client, run: dict[str, Any], at: str = "") -> dict[str, Any]:
    (approval,) = run["approvals"]
    response = client.post(f"{at}{RUNS}/{run['id']}/approvals/{approval['id']}", json={"approve": True})
    assert response.status_code == 200, response.text
    return wait_until_finished(client, run)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["newer version", "deleted"])
def test_a_waiting_run_goes_on_with_its_version_on_another_replica(
    admin: httpx.Client, member: httpx.Client, other_url: str, model_calls: list[Call], is_deleted: bool
) -> None:
    published(admin, "support", instructions="First.", tools=[FORGET])
    run = waiting(member)
    if is_deleted:
        admin.delete(f"{AGENTS}/support").raise_for_status()
    else:
        published(admin, "support", instructions="Second.")
    finished = approve(member, run, other_url)
    assert (finished["status"], finished["error_code"]) == ("completed", None)
    assert versions(finished) == {"support": 1}
    unique = run["message"].split()[-1]
    assert instructions_sent_with(model_calls, unique) == ["First.", "First."]
    if is_deleted:
        body = {"message": "Hello", "agent_type": "support"}
        assert error_of(member.post(CHAT, json=body)) == (404, "agent_not_found")


def test_a_run_of_a_killed_process_goes_on_with_its_version(
    admin: httpx.Client,
    settings: Settings,
    issuer: Issuer,
    tenant: UUID,
    fork_server: Callable[[Path], ForkServer],
    tmp_path: Path,
    model_calls: list[Call],
) -> None:
    published(admin, "support", instructions="First.")
    token = issuer.token(tenant_id=tenant, subject=f"user:{uuid4()}", role="member")
    # Its model comes to no end before the process is killed.
    without_models = settings.model_copy(update={"direct_models": {}, "agent_model_default": "sandbox-small"})
    unique = str(uuid4())
    body = {"message": f"{unique} [sandbox: only=sandbox-small, pause-after=20]", "agent_type": "support"}
    process = ServiceProcess(fork_server(REPLICA), tmp_path / "log").start(
        without_models, MARKS=str(tmp_path / "m")
    )
    with process as lost, contextlib.ExitStack() as stack:
        headers = {"Authorization": f"Bearer {token}"}
        client = stack.enter_context(httpx.Client(headers=headers, timeout=60, verify=NO_AUTHORITIES))
        run = client.post(f"{lost.url}{RUNS}", json=body).json()
        with client.stream("GET", f"{lost.url}{RUNS}/{run['id']}/events") as stream:
            next(event for event in events(stream) if event.type == "message.delta")
        lost.kill()
        published(admin, "support", instructions="Second.")
        admin.delete(f"{AGENTS}/support").raise_for_status()
        with serving(create_app(settings)) as other:
            own = stack.enter_context(
                httpx.Client(base_url=other, headers=headers, timeout=60, verify=NO_AUTHORITIES)
            )
            finished = wait_until_finished(own, run)
    assert (finished["status"], finished["error_code"]) == ("completed", None)
    assert versions(finished) == {"support": 1}
    assert instructions_sent_with(model_calls, unique) == ["First.", "First."]
    (row,) = query(
        settings.database_url.get_secret_value(), "select attempt from runs where id = $1", run["id"]
    )
    assert row["attempt"] == 2
