"""One turn of chat, whole."""

from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest
from testkit.live_server import NO_AUTHORITIES

BOTH = "What time is it, and can you review this Python function? def add(a, b): return a - b"


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/agents/chat"])
def test_answers_whole(ann: httpx.Client, path: str) -> None:
    answer = ann.post(path, json={"message": "Hello, how can you help me?"})
    received = answer.json()
    assert answer.status_code == 200
    assert received["response"]
    assert (received["agent_used"], received["handoff_occurred"]) == ("triage", False)
    assert received["usage"]["input_tokens"] > 0
    assert received["usage"]["output_tokens"] > 0
    assert received["usage"]["models"][0]["model"] == received["metadata"]["model"] == "sandbox-large"


def test_says_when_an_agent_handed_over(ann: httpx.Client) -> None:
    received = ann.post("/api/v1/chat", json={"message": BOTH}).json()
    assert (received["agent_used"], received["handoff_occurred"]) == ("code_assistant", True)
    assert received["usage"]["requests"] >= 3


def test_can_talk_to_a_specialist_at_once(ann: httpx.Client) -> None:
    received = ann.post("/api/v1/chat", json={"message": "Hello", "agent_type": "data_analyst"}).json()
    assert (received["agent_used"], received["handoff_occurred"]) == ("data_analyst", False)


def test_stores_messages_and_continues_from_there(ann: httpx.Client, other_services) -> None:
    first = ann.post("/api/v1/chat", json={"message": "I work on a web app"}).json()
    again = {"message": "What framework should I use?", "conversation_id": first["conversation_id"]}
    second = ann.post("/api/v1/chat", json=again).json()
    assert second["conversation_id"] == first["conversation_id"]
    assert other_services.messages(first["conversation_id"]) == [
        ("user", "I work on a web app"),
        ("assistant", first["response"]),
        ("user", "What framework should I use?"),
        ("assistant", second["response"]),
    ]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_finds_earlier_messages(ann: httpx.Client) -> None:
    ann.post("/api/v1/chat", json={"message": "My dog is called Bello"})
    received = ann.post("/api/v1/chat", json={"message": "Search what we said about Bello"}).json()
    assert "Bello" in received["response"]


def test_the_same_key_is_the_same_run(ann: httpx.Client, other_services) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = ann.post("/api/v1/chat", json={"message": "Once"}, headers=key)
    again = ann.post("/api/v1/chat", json={"message": "Once"}, headers=key)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()
    assert len(other_services.items) == 1


def test_the_same_key_for_something_else_is_a_conflict(ann: httpx.Client) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    ann.post("/api/v1/chat", json={"message": "Once"}, headers=key)
    other = ann.post("/api/v1/chat", json={"message": "Twice"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_a_key_belongs_to_who_sent_it(person: Callable[..., httpx.Client]) -> None:
    key = {"Idempotency-Key": "the-same"}
    runs = {
        person().post("/api/v1/chat", json={"message": "Hi"}, headers=key).json()["run_id"] for _ in range(2)
    }
    assert len(runs) == 2


def test_another_persons_conversation_does_not_exist(person: Callable[..., httpx.Client]) -> None:
    of_ann = person().post("/api/v1/chat", json={"message": "Mine"}).json()["conversation_id"]
    for stranger in (person(), person(tenant_id=uuid4())):
        answer = stranger.post("/api/v1/chat", json={"message": "Yours?", "conversation_id": of_ann})
        assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found")


def test_a_run_can_be_read_by_its_owner_only(person: Callable[..., httpx.Client]) -> None:
    ann, stranger, colleague = person(), person(tenant_id=uuid4()), person()
    received = ann.post("/api/v1/chat", json={"message": "Hello"}).json()
    run = ann.get(f"/api/v1/runs/{received['run_id']}").json()
    assert (run["status"], run["output"], run["usage"]) == (
        "completed",
        received["response"],
        received["usage"],
    )
    for other in (stranger, colleague):
        for path in (f"/api/v1/runs/{received['run_id']}", f"/api/v1/runs/{received['run_id']}/events"):
            assert (other.get(path).status_code, other.get(path).json()["code"]) == (404, "run_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"message": ""}, 422, "invalid_request"),
        ({"message": " \n\t "}, 422, "invalid_request"),
        ({"message": "x" * 1_000_001}, 422, "invalid_request"),
        ({"message": "nul \x00"}, 422, "invalid_request"),
        ({"message": 7}, 422, "invalid_request"),
        ({"message": "Hi", "temperature": 2}, 422, "invalid_request"),
        ({"message": "Hi", "conversation_id": "mine"}, 422, "invalid_request"),
        ({"message": "Hi", "agent_type": "oracle"}, 404, "agent_not_found"),
        ({}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
    ],
)
def test_bad_input_gets_a_clear_answer(ann: httpx.Client, body: object, status: int, code: str) -> None:
    for path in ("/api/v1/chat", "/api/v1/chat/stream"):
        answer = ann.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_unreadable_bodies_get_a_clear_answer(ann: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    for content, status in (
        (b"{", 400),
        (b'"\xff"', 400),
        (b'{"message": "\\ud800"}', 422),
        (b"x" * 27_000_000, 413),
    ):
        assert ann.post("/api/v1/chat", content=content, headers=headers).status_code == status, content[:20]
    bad_key = ann.post("/api/v1/chat", json={"message": "Hi"}, headers={"Idempotency-Key": "x" * 256})
    assert (bad_key.status_code, bad_key.json()["code"]) == (400, "invalid_idempotency_key")


def test_a_viewer_may_look_but_not_talk(person: Callable[..., httpx.Client]) -> None:
    viewer = person(role="viewer")
    assert viewer.post("/api/v1/chat", json={"message": "Hi"}).status_code == 403
    assert viewer.get("/api/v1/agents").status_code == 200


def test_without_a_token_nobody_talks(url: str) -> None:
    assert (
        httpx.post(
            f"{url}/api/v1/chat", json={"message": "Hi"}, verify=NO_AUTHORITIES, timeout=60
        ).status_code
        == 401
    )


def test_tells_which_agents_and_tools_there_are(ann: httpx.Client) -> None:
    agents = {agent["name"]: agent for agent in ann.get("/api/v1/agents").json()}
    assert agents["triage"]["handoffs"] == ["code_assistant", "data_analyst", "research"]
    assert set(agents) == {"triage", "code_assistant", "data_analyst", "research"}
    tools = ann.get("/api/v1/tools").json()
    assert tools["total_tools"] == len(tools["tool_names"]) == 6
    assert tools["categories"] == {
        "time": ["current_time"],
        "memory": ["search_conversations", "forget_conversation"],
        "math": ["calculate"],
        "data": ["analyze_csv"],
        "web": ["web_search"],
    }


def test_tells_what_an_agent_has_done_in_this_tenant(person: Callable[..., httpx.Client]) -> None:
    tenant = uuid4()
    ann = person(tenant_id=tenant)
    assert ann.get("/api/v1/agents/triage/status").json()["total_conversations"] == 0
    ann.post("/api/v1/chat", json={"message": "Hi"})
    status = person(tenant_id=tenant).get("/api/v1/agents/triage/status").json()
    assert status["total_conversations"] == 1
    assert status["last_used"]
    assert person(tenant_id=uuid4()).get("/api/v1/agents/triage/status").json()["last_used"] is None
    assert ann.get("/api/v1/agents/oracle/status").json()["code"] == "agent_not_found"
