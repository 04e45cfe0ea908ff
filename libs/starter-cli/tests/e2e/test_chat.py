"""A turn of conversation, as a client of the gateway sees it."""

from typing import Any

import pytest
from starter_cli import events
from starter_cli.stack import Stack

from .conftest import Person, http_client, until

REVIEW = "What time is it, and can you review this Python function? def add(a, b): return a - b"


def fields(events: list[Any], kind: str) -> list[dict[str, Any]]:
    return [event.data for _, event in events if event.type == kind]


def test_what_the_model_says_arrives_while_it_still_speaks(owner: Person, stack: Stack) -> None:
    message = {"message": "Hello [sandbox: tokens=100, pause-after=50]"}
    with owner.http.stream("POST", "/api/v1/chat/stream", json=message) as answer:
        received = events.read(answer)
        first = next(event for event in received if event.type == "message.delta")
        until(lambda: resume_model(stack))
        rest = [event for event in received if event.type == "message.delta"]
    assert first.data["delta"]
    assert rest


def resume_model(stack: Stack) -> bool:
    """Resume the calls of the model that have paused; return whether there was one."""
    with http_client(f"{stack.sandbox_url}/_sandbox") as sandbox:
        calls = sandbox.get("/calls").json()
        is_paused = any(call["is_paused"] and call["status"] == "streaming" for call in calls)
        if is_paused:
            sandbox.post("/resume").raise_for_status()
    return is_paused


def test_a_turn_shows_its_tools_and_its_handoff_and_ends_once(owner: Person) -> None:
    received = owner.stream(REVIEW)
    kinds = [event.type for _, event in received]
    assert kinds[0] == "run.started"
    assert "current_time" in {call["name"] for call in fields(received, "tool.called")}
    assert fields(received, "tool.output")
    assert [(change["from"], change["to"]) for change in fields(received, "agent.changed")] == [
        ("triage", "code_assistant")
    ]
    assert [kind for kind in kinds if kind.startswith("run.")] == ["run.started", "run.completed"]
    assert kinds[-1] == "run.completed"


def test_events_are_numbered_without_holes(owner: Person) -> None:
    received = owner.stream(REVIEW)
    assert [event.id for _, event in received] == [str(number + 1) for number in range(len(received))]
    assert [event.data["seq"] for _, event in received] == list(range(1, len(received) + 1))


def test_what_was_streamed_is_what_is_stored(owner: Person) -> None:
    received = owner.stream(REVIEW)
    ended = received[-1][1].data
    streamed = "".join(delta["delta"] for delta in fields(received, "message.delta"))
    assert streamed == ended["output"]
    messages = owner.messages(ended["conversation_id"])
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", REVIEW),
        ("assistant", streamed),
    ]


def test_a_run_can_be_read_again_from_where_a_stream_broke_off(owner: Person) -> None:
    received = [event for _, event in owner.stream("Hello")]
    path = f"/api/v1/runs/{received[0].data['run_id']}/events"
    again = owner.http.get(path, headers={"Last-Event-ID": received[2].id})
    assert again.status_code == 200
    ids = [line.removeprefix("id: ") for line in again.text.splitlines() if line.startswith("id: ")]
    assert ids == [event.id for event in received[3:]]


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/v1/agents/chat"])
def test_the_whole_answer_comes_at_once_for_those_who_ask_so(owner: Person, path: str) -> None:
    answer = owner.http.post(path, json={"message": REVIEW, "agent_type": "triage"})
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert result["handoff_occurred"] is True
    assert result["agent_used"] == "code_assistant"
    assert result["usage"]["output_tokens"] > 0
    assert owner.messages(result["conversation_id"])[-1]["content"] == result["response"]


def test_a_conversation_goes_on(owner: Person) -> None:
    first = owner.http.post("/api/v1/chat", json={"message": "Hello"}).json()
    more = {"message": "And again", "conversation_id": first["conversation_id"]}
    assert owner.http.post("/api/v1/chat", json=more).status_code == 200
    roles = [message["role"] for message in owner.messages(first["conversation_id"])]
    assert roles == ["user", "assistant", "user", "assistant"]
    listed = owner.http.get("/api/v1/conversations").json()["items"]
    assert listed[0]["conversation_id"] == first["conversation_id"]
    assert listed[0]["message_count"] == 4


def test_every_token_of_a_run_gets_into_the_ledger(neighbour: Person) -> None:
    ended = neighbour.stream(REVIEW)[-1][1].data
    totals = until(lambda: (usage := neighbour.usage())["runs"] and usage)
    counted = {name: totals[name] for name in ("runs", "input_tokens", "output_tokens")}
    usage = ended["usage"]
    assert counted == {"runs": 1, **{name: usage[name] for name in ("input_tokens", "output_tokens")}}


def test_a_client_that_goes_away_misses_nothing(neighbour: Person) -> None:
    message = "Tell me more [sandbox: tokens=150]"
    with neighbour.http.stream("POST", "/api/v1/chat/stream", json={"message": message}) as answer:
        lines = answer.iter_lines()
        started = next(line for line in lines if line.startswith("data: "))
        next(line for line in lines if "message.delta" in line)
    conversation_id = started.split('"conversation_id":"')[1].split('"')[0]
    # A new conversation is kept a moment after its first run has begun.
    until(lambda: neighbour.http.get(f"/api/v1/conversations/{conversation_id}").is_success)
    until(lambda: len(neighbour.messages(conversation_id)) == 2)
    reply = neighbour.messages(conversation_id)[-1]["content"]
    totals = until(lambda: (usage := neighbour.usage())["runs"] and usage)
    whole = neighbour.stream(message)[-1][1].data
    assert reply == whole["output"]
    assert totals["output_tokens"] == whole["usage"]["output_tokens"] >= 150


def test_the_same_idempotency_key_gets_the_same_run(owner: Person) -> None:
    key = {"Idempotency-Key": "once-and-only-once"}
    first = owner.http.post("/api/v1/chat", json={"message": "Hello"}, headers=key)
    again = owner.http.post("/api/v1/chat", json={"message": "Hello"}, headers=key)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"message": ', 400, "malformed_json"),
        (b'{"message": ""}', 422, None),
        (b'{"message": "Hello", "temperature": 2}', 422, None),
        (b'{"message": "Hello", "agent_type": "poet"}', 404, "agent_not_found"),
        (b'{"message": "' + b"a" * 1_000_001 + b'"}', 422, None),
        (b'{"message": "' + b"a" * 27_000_000 + b'"}', 413, None),
    ],
    ids=["cut off", "empty", "unknown field", "unknown agent", "1 MB", "27 MB"],
)
def test_an_invalid_request_is_answered_with_what_is_wrong(
    owner: Person, body: bytes, status: int, code: str | None
) -> None:
    json = {"Content-Type": "application/json"}
    for path in ("/api/v1/chat", "/api/v1/chat/stream"):
        answer = owner.http.post(path, content=body, headers=json)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == (code or answer.json()["code"])
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
