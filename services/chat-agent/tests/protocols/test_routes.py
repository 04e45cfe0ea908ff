"""What is so in every voice, seen over HTTP."""

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_agent.execution import lease_workers
from chat_agent.main import create_app
from chat_agent.settings import Settings
from redis import Redis
from testkit.eventually import until
from testkit.live_server import serving

Body = Callable[[str], dict[str, Any]]


def completion(text: str) -> dict[str, Any]:
    return {"model": "triage", "messages": [{"role": "user", "content": text}], "stream": True}


def response(text: str) -> dict[str, Any]:
    return {"model": "triage", "input": text, "stream": True}


def ag_ui(text: str) -> dict[str, Any]:
    message = {"id": "1", "role": "user", "content": [{"type": "text", "text": text}]}
    return {"threadId": "a thread", "runId": "1", "messages": [message], "tools": [], "context": []}


def ui(text: str) -> dict[str, Any]:
    return {
        "id": "a chat",
        "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}],
        "trigger": "submit-message",
    }


STREAMS: dict[str, Body] = {
    "/v1/chat/completions": completion,
    "/v1/responses": response,
    "/api/v1/agents/triage/ag-ui": ag_ui,
    "/api/v1/chat/ui": ui,
}
ENDLESS = "Tell me a long story [sandbox: tokens=60, stall-after=30]"
FORGET = "Forget it [sandbox: call=forget_conversation]"

streams = pytest.mark.parametrize(("path", "body"), STREAMS.items())


def code_of(answer: httpx.Response) -> str:
    received = answer.json()
    code: str = received.get("error", received)["code"]
    return code


@streams
def test_is_a_stream_that_nobody_keeps(ann: httpx.Client, path: str, body: Body) -> None:
    answer = ann.post(path, json=body("Hello"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
    assert "ratelimit" in answer.headers
    run = ann.get(f"/api/v1/runs/{answer.headers['acme-run-id']}").json()
    assert run["conversation_id"] == answer.headers["acme-conversation-id"]


def without_comments(answer: httpx.Response) -> list[str]:
    """Return the frames of a stream; how many comments keep it alive is up to the machine."""
    # Line by line: a comment ends with one line break, and may stand before a frame.
    lines = [line for line in answer.text.split("\n") if not line.startswith(":")]
    return [frame for frame in "\n".join(lines).split("\n\n") if frame]


@streams
def test_a_key_gives_the_same_stream_again(ann: httpx.Client, path: str, body: Body) -> None:
    request: dict[str, Any] = {"json": body("Hello"), "headers": {"Idempotency-Key": "k"}}
    first, second = ann.post(path, **request), ann.post(path, **request)
    assert without_comments(first) == without_comments(second)
    assert second.headers["idempotent-replayed"] == "true"
    other = ann.post(path, json=body("Another"), headers=request["headers"])
    assert (other.status_code, code_of(other)) == (409, "idempotency_conflict")


@streams
def test_only_so_many_streams_stand_at_once(person, path: str, body: Body) -> None:
    ann = person(tenant_id=uuid4())
    with (
        ann.stream("POST", "/api/v1/chat/stream", json={"message": ENDLESS}) as first,
        ann.stream("POST", "/api/v1/chat/stream", json={"message": ENDLESS}) as second,
        ann.stream("POST", "/api/v1/chat/stream", json={"message": ENDLESS}) as third,
    ):
        fourth = ann.post(path, json=body("Hello"))
        for stream in (first, second, third):
            ann.post(f"/api/v1/runs/{stream.headers['acme-run-id']}/cancel")
    assert (fourth.status_code, code_of(fourth)) == (429, "concurrency_limited")


@streams
def test_who_only_reads_may_not_talk(person, path: str, body: Body) -> None:
    assert person(role="viewer").post(path, json=body("Hello")).status_code == 403


def test_what_is_no_text_is_refused_only_where_it_is_new(ann: httpx.Client) -> None:
    picture = {"type": "image", "source": {"type": "url", "value": "https://example.com/x.png"}}
    request = ag_ui("Hello")
    request["messages"].insert(0, {"id": "0", "role": "user", "content": [picture]})
    assert ann.post("/api/v1/agents/triage/ag-ui", json=request).status_code == 200
    request["messages"].reverse()
    refused = ann.post("/api/v1/agents/triage/ag-ui", json=request)
    assert (refused.status_code, code_of(refused)) == (400, "unsupported_content")
    request = ui("Look")
    request["messages"][0]["parts"].append({"type": "file", "mediaType": "image/png", "url": "data:,"})
    assert code_of(ann.post("/api/v1/chat/ui", json=request)) == "unsupported_content"


def test_unknown_agents_are_404(ann: httpx.Client) -> None:
    for path, request in (
        ("/api/v1/agents/nobody/ag-ui", ag_ui("Hello")),
        ("/api/v1/chat/ui", {**ui("Hello"), "agent_type": "nobody"}),
    ):
        answer = ann.post(path, json=request)
        assert (answer.status_code, code_of(answer)) == (404, "agent_not_found")


def test_the_conversation_of_another_is_not_theirs(ann: httpx.Client, person) -> None:
    mine = ann.post("/api/v1/chat/ui", json=ui("Hello")).headers["acme-conversation-id"]
    other = person()
    assert other.post("/api/v1/chat/ui", json={**ui("Hello"), "id": mine}).status_code == 404
    assert other.post("/api/v1/chat/ui", json=ui("Hello")).headers["acme-conversation-id"] != mine


def test_an_answer_outlives_its_log(ann: httpx.Client, redis_url: str) -> None:
    request: dict[str, Any] = {"json": completion("Hello"), "headers": {"Idempotency-Key": "k"}}
    run_id = ann.post("/v1/chat/completions", **request).headers["acme-run-id"]
    run = ann.get(f"/api/v1/runs/{run_id}").json()
    with Redis.from_url(redis_url) as redis:
        log = f"run:{{{run_id}}}:events"
        until(lambda: b"run.completed" in str(redis.xrevrange(log, count=1)).encode())
        redis.delete(log)
    until(lambda: ann.get(f"/api/v1/runs/{run_id}/events").status_code == 410)
    read = ann.get(f"/v1/responses/resp_{run_id.replace('-', '')}").json()
    assert read["output"][0]["content"][0]["text"] == run["output"]
    assert read["usage"]["output_tokens"] == run["usage"]["output_tokens"]
    request["json"]["stream"] = False
    again = ann.post("/v1/chat/completions", **request).json()
    assert again["choices"][0]["message"]["content"] == run["output"]
    native: dict[str, Any] = {"json": {"message": "Hello"}, "headers": request["headers"]}
    assert ann.post("/api/v1/chat", **native).json()["response"] == run["output"]
    events = ann.post("/api/v1/chat/stream", **native).text
    assert [line for line in events.splitlines() if line.startswith("event")][-1] == "event: run.completed"


def test_keep_alives_are_sent(ann: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_workers, "KEEP_ALIVE_SECONDS", 0.01)
    # It is looked for as often as leases are renewed: four times in their time.
    own = settings.model_copy(update={"run_lease_seconds": 2})
    with serving(create_app(own)) as url:
        for path, body in STREAMS.items():
            with ann.stream("POST", f"{url}{path}", json=body(ENDLESS)) as answer:
                assert next(line for line in answer.iter_lines() if line.startswith(":")) == ": keep-alive"
            assert ann.post(f"{url}/api/v1/runs/{answer.headers['acme-run-id']}/cancel").status_code == 200


@streams
def test_a_run_that_was_stopped_ends_its_stream(ann: httpx.Client, path: str, body: Body) -> None:
    with ann.stream("POST", path, json=body(ENDLESS)) as answer:
        lines = answer.iter_lines()
        next(lines)
        ann.post(f"/api/v1/runs/{answer.headers['acme-run-id']}/cancel")
        received = "".join(lines)
    assert "cancelled" in received


def waiting(ann: httpx.Client, path: str, request: dict[str, Any]) -> tuple[httpx.Response, dict[str, Any]]:
    """Send a request that needs an approval; return its response, and the run."""
    answer = ann.post(path, json=request, headers={"Idempotency-Key": "k"})
    run: dict[str, Any] = ann.get(f"/api/v1/runs/{answer.headers['acme-run-id']}").json()
    assert run["status"] == "waiting"
    return answer, run


def allow(ann: httpx.Client, run: dict[str, Any]) -> None:
    """Allow what a run has asked for, and wait for its end."""
    path = f"/api/v1/runs/{run['id']}"
    for request in run["approvals"]:
        ann.post(f"{path}/approvals/{request['id']}", json={"approve": True})
    until(lambda: ann.get(path).json()["status"] == "completed")


@streams
def test_a_run_that_has_waited_is_one_stream_afterwards(ann: httpx.Client, path: str, body: Body) -> None:
    first, run = waiting(ann, path, body(FORGET))
    allow(ann, run)
    again = ann.post(path, json=body(FORGET), headers={"Idempotency-Key": "k"}).text
    for end in ("[DONE]", "event: response.completed", '"RUN_FINISHED"', '"RUN_STARTED"'):
        assert again.count(end) == first.text.count(end)
    assert "forget_conversation says" in output(again)
    assert "forget_conversation says" not in output(first.text)


def output(stream: str) -> str:
    """Join the pieces in which text came, however it was cut."""
    return "".join(re.findall(r'"(?:delta|content)":"([^"]*)"', stream))


@streams
def test_may_wait_for_another_run_or_not(ann: httpx.Client, path: str, body: Body) -> None:
    request = body(ENDLESS)
    # Read meanwhile: a run whose client has gone is cancelled where nobody can read the rest.
    with ann.stream("POST", path, json=request) as answer:
        run_id, conversation_id = answer.headers["acme-run-id"], answer.headers["acme-conversation-id"]
        completions = {"on_conflict": "reject", "conversation_id": conversation_id}
        named: dict[str, dict[str, Any]] = {
            "/v1/chat/completions": {"metadata": completions},
            "/v1/responses": {"metadata": {"on_conflict": "reject"}, "conversation": conversation_id},
            "/api/v1/agents/triage/ag-ui": {"forwardedProps": {"on_conflict": "reject"}},
            "/api/v1/chat/ui": {"on_conflict": "reject"},
        }
        refused = ann.post(path, json={**request, **named[path]})
        ann.post(f"/api/v1/runs/{run_id}/cancel")
    assert (refused.status_code, code_of(refused)) == (409, "conversation_busy")


def test_earlier_messages_open_a_conversation_once(ann: httpx.Client, other_services) -> None:
    request = ag_ui("Hello")
    before = [
        {"id": f"b{number}", "role": "assistant", "content": f"Before {number}"} for number in range(250)
    ]
    received = {"id": "s", "role": "system", "content": "Be brief."}
    request["messages"] = [received, *before, *request["messages"]]
    conversation = ann.post("/api/v1/agents/triage/ag-ui", json=request).headers["acme-conversation-id"]
    texts = [text for _, text in other_services.messages(conversation)]
    assert texts[:-1] == ["Be brief.", *(f"Before {at}" for at in range(250)), "Hello"]
    [run] = ann.get("/api/v1/runs").json()["items"]
    # The model was told all of it.
    assert run["usage"]["input_tokens"] > 2 * len(before)
    ann.post("/api/v1/agents/triage/ag-ui", json=request)
    assert [text for _, text in other_services.messages(conversation)][: len(texts)] == texts
    assert len(other_services.messages(conversation)) == len(texts) + 2


def test_a_chat_that_waits_is_resumed(ann: httpx.Client) -> None:
    _, run = waiting(ann, "/api/v1/chat/ui", ui(FORGET))
    stream = ann.get("/api/v1/chat/ui/a chat/stream")
    assert "tool-approval-request" in stream.text
    assert "ratelimit" in stream.headers
    allow(ann, run)
    assert ann.get("/api/v1/chat/ui/a chat/stream").status_code == 204


def test_what_was_not_requested_cannot_be_approved(ann: httpx.Client) -> None:
    request = ag_ui("Hello")
    request["resume"] = [{"interruptId": str(uuid4()), "status": "resolved", "payload": {"approved": True}}]
    nothing = ann.post("/api/v1/agents/triage/ag-ui", json=request)
    assert (nothing.status_code, code_of(nothing)) == (404, "approval_not_found")
    waiting(ann, "/api/v1/agents/triage/ag-ui", ag_ui(FORGET))
    other = ann.post("/api/v1/agents/triage/ag-ui", json=request)
    assert (other.status_code, code_of(other)) == (404, "approval_not_found")
