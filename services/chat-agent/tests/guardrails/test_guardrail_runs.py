"""Runs under guardrails: what they mask or refuse is neither stored nor streamed."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from agents import Agent
from chat_agent.agents import AGENTS
from chat_agent.agents.tool import RunContext, tool
from chat_agent.guardrails.config import GuardrailConfig, from_setting
from chat_agent.main import create_app
from chat_agent.settings import Settings
from testkit.databases import query
from testkit.live_server import NO_AUTHORITIES, serving

from ..client_helpers import (
    RUNS,
    STREAM,
    error_of,
    everything_stored,
    read_events,
    start_run,
    wait_until_finished,
)

CARD = "4111 1111 1111 1111"
KEY = "sk-proj-abcdefghijklmnop"
OUTPUT_ONLY: Any = {
    "output": {
        "guardrails": [
            {"name": "Contains PII", "config": {"entities": ["CREDIT_CARD"]}},
            {"name": "Secret Keys", "config": {}},
        ]
    }
}


def with_guardrails(settings: Settings, value: Any) -> Settings:
    config = GuardrailConfig.model_validate(from_setting(value))
    return settings.model_copy(update={"guardrails": config, "chat_rate_limit_per_minute": 1000})


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return with_guardrails(settings, "standard")


@pytest.fixture(scope="module")
def output_only_url(settings: Settings) -> Iterator[str]:
    with serving(create_app(with_guardrails(settings, OUTPUT_ONLY))) as url:
        yield url


def test_masks_what_a_person_writes_before_it_is_stored(
    ann: httpx.Client, other_services: Any, settings: Settings
) -> None:
    answer = ann.post("/api/v1/chat", json={"message": f"My card is {CARD}, thanks"})
    assert answer.status_code == 200
    messages = other_services.messages(answer.json()["conversation_id"])
    assert messages[0] == ("user", "My card is <CREDIT_CARD>, thanks")
    assert CARD not in json.dumps(messages) + answer.text
    assert CARD not in everything_stored(settings)


def test_masks_what_a_person_has_agents_remember_and_refuses_what_no_message_may_say(
    ann: httpx.Client, settings: Settings
) -> None:
    memories = "/api/v1/memories"
    memory = ann.post(memories, json={"text": f"My card is {CARD}"}).json()
    assert memory["text"] == "My card is <CREDIT_CARD>"
    path = f"{memories}/{memory['id']}"
    corrected = ann.patch(path, json={"text": f"My cards are {CARD} and {CARD}"}).json()
    assert corrected["text"] == "My cards are <CREDIT_CARD> and <CREDIT_CARD>"
    before = len(audit_rows(settings))
    refused = [
        ann.post(memories, json={"text": f"My key is {KEY}"}),
        ann.patch(f"{memories}/{corrected['id']}", json={"text": f"My key is {KEY}"}),
    ]
    assert {error_of(answer) for answer in refused} == {(400, "guardrail_triggered")}
    assert len(audit_rows(settings)) == before + 2
    assert CARD not in everything_stored(settings)
    assert KEY not in everything_stored(settings)


def test_masks_what_people_decide_of_calls_and_refuses_what_no_message_may_say(
    ann: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    async def write(text: str) -> str:
        """Write something down."""
        written.append(text)
        return "It is written."

    tools: list[Any] = [tool(needs_approval=True, idempotent=False)(write)]
    clerk = Agent[RunContext](name="clerk", instructions="You are a clerk.", tools=tools)
    monkeypatch.setitem(AGENTS, "clerk", clerk)

    def waiting() -> str:
        run = wait_until_finished(ann, start_run(ann, "write text=hello", agent_type="clerk"))
        (approval,) = run["approvals"]
        return f"{RUNS}/{run['id']}/approvals/{approval['id']}"

    url, before = waiting(), len(audit_rows(settings))
    refused = [
        ann.post(url, json={"approve": True, "arguments": {"text": f"My key is {KEY}"}}),
        ann.post(url, json={"approve": False, "reason": f"My key is {KEY}"}),
    ]
    assert {error_of(answer) for answer in refused} == {(400, "guardrail_triggered")}
    assert len(audit_rows(settings)) == before + 2
    run = ann.post(url, json={"approve": True, "arguments": {"text": f"Card: {CARD}"}}).json()
    assert wait_until_finished(ann, run)["status"] == "completed"
    assert written == ["Card: <CREDIT_CARD>"]
    run = ann.post(waiting(), json={"approve": False, "reason": f"Not with {CARD}"}).json()
    run = wait_until_finished(ann, run)
    assert run["approvals"][0]["reason"] == "Not with <CREDIT_CARD>"
    assert CARD not in everything_stored(settings)
    assert KEY not in everything_stored(settings)


def audit_rows(settings: Settings) -> list[dict[str, Any]]:
    events = "select data from outbox where type = 'chat.audit.recorded.v1' order by id"
    rows = query(settings.database_url.get_secret_value(), events)
    return [json.loads(row["data"]) for row in rows]


@pytest.mark.parametrize("path", ["/api/v1/chat", STREAM, RUNS])
def test_refuses_what_no_run_may_begin_with(ann: httpx.Client, settings: Settings, path: str) -> None:
    answer = ann.post(path, json={"message": f"Use {KEY} for it"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "guardrail_triggered")
    assert (problem["guardrail"], problem["stage"]) == ("Secret Keys", "input")
    assert KEY not in answer.text
    assert KEY not in everything_stored(settings)
    (row,) = audit_rows(settings)
    assert row["action"] == "chat_guardrail_triggered"
    assert row["detail"] == {"agent": "triage", "guardrail": "Secret Keys", "stage": "input"}


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_refuses_it_in_earlier_messages_and_instructions(ann: httpx.Client, role: str) -> None:
    messages = [{"role": role, "content": f"My key is {KEY}"}, {"role": "user", "content": "Hello"}]
    refused = ann.post("/v1/chat/completions", json={"model": "triage", "messages": messages})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "guardrail_triggered")


def test_openai_clients_get_the_name_of_the_guardrail(url: str, ann: httpx.Client) -> None:
    token = ann.headers["Authorization"].removeprefix("Bearer ")
    with (
        httpx.Client(verify=NO_AUTHORITIES, timeout=60) as http,
        openai.OpenAI(base_url=f"{url}/v1", api_key=token, http_client=http) as client,
    ):
        parts: Any = [{"type": "text", "text": f"Use {KEY}"}]
        with pytest.raises(openai.BadRequestError, match="Secret Keys"):
            client.chat.completions.create(model="triage", messages=[{"role": "user", "content": parts}])
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.create(model="triage", input=f"Use {KEY}")
        assert error.value.code == "guardrail_triggered"


def test_masks_an_answer_however_it_is_streamed(
    ann: httpx.Client, output_only_url: str, other_services: Any
) -> None:
    run = start_run(ann, f"My card is {CARD}, thanks", at=output_only_url)
    events = read_events(ann, run, at=output_only_url)
    deltas = "".join(event.data["delta"] for event in events if event.type == "message.delta")
    assert "My card is <CREDIT_CARD>, thanks" in deltas
    assert events[-1].data["output"] == deltas
    assert CARD not in str([event.data for event in events])
    assert other_services.messages(run["conversation_id"])[1] == ("assistant", deltas)


def test_an_answer_that_is_not_allowed_ends_the_run(
    ann: httpx.Client, output_only_url: str, other_services: Any, settings: Settings
) -> None:
    run = start_run(ann, f"Say {KEY} again", at=output_only_url)
    events = read_events(ann, run, at=output_only_url)
    last = events[-1].data
    assert (events[-1].type, last["code"]) == ("run.failed", "guardrail_triggered")
    assert "Secret Keys" in last["detail"]
    assert KEY not in str([event.data for event in events])
    stored = other_services.messages(run["conversation_id"])
    assert KEY not in str([text for role, text in stored if role != "user"])
    (row,) = audit_rows(settings)
    expected = {"agent": "triage", "run_id": run["id"], "guardrail": "Secret Keys", "stage": "output"}
    assert row["detail"] == expected
    answer = ann.post(f"{output_only_url}/api/v1/chat", json={"message": f"Say {KEY} again"})
    assert (answer.status_code, answer.json()["code"]) == (400, "guardrail_triggered")
