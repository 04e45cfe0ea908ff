"""What becomes of a run whose client disconnects, in every protocol, streamed and not."""

import asyncio
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from openai import OpenAI
from starlette import types
from testkit.eventually import until
from testkit.live_server import NO_AUTHORITIES, serving

from ..test_agent_definitions import definition

PAUSING = "Tell me a long story [sandbox: tokens=60, pause-after=30]"
FORGET = "Forget it [sandbox: call=forget_conversation]"
CHAT, RESPONSES, AG_UI, UI = (
    *("/v1/chat/completions", "/v1/responses"),
    *("/api/v1/agents/triage/ag-ui", "/api/v1/chat/ui"),
)
PROTOCOLS = {CHAT: "chat_completions", RESPONSES: "responses", AG_UI: "ag_ui", UI: "ui_messages"}
ENDED = {"completed", "failed", "cancelled"}
TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


class Kind(NamedTuple):
    """A kind of request, and whether its answer can be read after a disconnect."""

    path: str
    is_readable: bool
    more: dict[str, Any] = {}  # noqa: RUF012  # never changed
    has_key: bool = False
    names_conversation: bool = False


OPENAI_KINDS = {
    "completion": Kind(CHAT, is_readable=False),
    "completion, store: false": Kind(CHAT, False, {"store": False}),
    "completion in a conversation": Kind(CHAT, True, names_conversation=True),
    "completion with a key": Kind(CHAT, True, has_key=True),
    "response": Kind(RESPONSES, is_readable=True),
    "response, store: false": Kind(RESPONSES, False, {"store": False}),
    "response with a key, store: false": Kind(RESPONSES, True, {"store": False}, has_key=True),
}
STREAM_KINDS = {"AG-UI": Kind(AG_UI, is_readable=True), "UI messages": Kind(UI, is_readable=True)}


def body_of(path: str, text: str) -> dict[str, Any]:
    """Return a request in the protocol of a path."""
    if path == CHAT:
        return {"model": "triage", "messages": [{"role": "user", "content": text}]}
    if path == RESPONSES:
        return {"model": "triage", "input": text}
    if path == AG_UI:
        message = {"id": "1", "role": "user", "content": text}
        return {"threadId": "a", "runId": "1", "messages": [message], "tools": [], "context": []}
    message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": "a", "messages": [message], "trigger": "submit-message"}


def with_on_disconnect(path: str, body: dict[str, Any], requested: str | None) -> dict[str, Any]:
    """Return a request with its parameter `on_disconnect`, if it has one."""
    if requested is None:
        return body
    parent = {CHAT: "metadata", RESPONSES: "metadata", AG_UI: "forwardedProps"}.get(path)
    parameter = {"on_disconnect": requested}
    return {**body, parent: {**body.get(parent, {}), **parameter}} if parent else {**body, **parameter}


def request_of(
    kind: Kind, requested: str | None, *, is_streamed: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body and the headers of a request."""
    body = {**body_of(kind.path, PAUSING), **kind.more}
    if kind.names_conversation:
        body["metadata"] = {"conversation_id": str(uuid4())}
    if kind in OPENAI_KINDS.values():
        body["stream"] = is_streamed
    headers = {"Idempotency-Key": str(uuid4())} if kind.has_key else {}
    return with_on_disconnect(kind.path, body, requested), headers


def statuses(person: httpx.Client) -> list[str]:
    """Return the statuses of somebody's runs."""
    return [run["status"] for run in person.get("/api/v1/runs").json()["items"]]


@dataclass
class Waiting:
    """Somebody who has sent a request, and has not read its answer."""

    person: httpx.Client
    connection: http.client.HTTPConnection

    def runs(self) -> list[dict[str, Any]]:
        """Return this person's runs."""
        items: list[dict[str, Any]] = self.person.get("/api/v1/runs").json()["items"]
        return items

    def statuses(self) -> list[str]:
        """Return the statuses of this person's runs."""
        return statuses(self.person)

    def disconnect(self) -> None:
        """Close the connection when there is a run."""
        until(lambda: "running" in self.statuses())
        self.connection.close()


@dataclass
class AsgiVersion:
    """A version of ASGI in place of the server's; a disconnect is reported in one of two ways."""

    app: types.ASGIApp
    version: str
    reported_in: str

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        """Call the app."""
        is_closed = False

        async def receive_body() -> types.Message:
            nonlocal is_closed
            message = await receive()
            if message["type"] == "http.disconnect":
                is_closed = True
                await asyncio.Event().wait()
            return message

        async def send_unless_closed(message: types.Message) -> None:
            if is_closed:
                raise OSError
            await send(message)

        scope = {**scope, "asgi": {"version": "3.0", "spec_version": self.version}}
        if self.reported_in == "receive":
            await self.app(scope, receive, send)
        else:
            await self.app(scope, receive_body, send_unless_closed)


Send = Callable[..., Waiting]


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """Return settings with which a model may pause for as long as a machine stands still."""
    return settings.model_copy(update={"model_between_tokens_timeout_seconds": 600})


@pytest.fixture
def model(model_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{model_url}/_sandbox", verify=NO_AUTHORITIES, timeout=60) as client:
        client.delete("/calls")
        yield client


@pytest.fixture
def send(person: Callable[..., httpx.Client], url: str) -> Iterator[Send]:
    """Return a function that sends a request as somebody new, and does not wait for the answer."""
    with ExitStack() as stack:

        def send(
            path: str, body: dict[str, Any], at: str = url, role: str = "member", **headers: str
        ) -> Waiting:
            somebody = person(uuid4(), role=role)
            connection = http.client.HTTPConnection(httpx.URL(at).netloc.decode(), timeout=60)
            stack.callback(connection.close)
            sent = {"authorization": somebody.headers["authorization"], "content-type": "application/json"}
            connection.request("POST", path, json.dumps(body), {**sent, **headers})
            return Waiting(somebody, connection)

        yield send


def all_ended(model: httpx.Client, waiting: Waiting) -> bool:
    """Resume the model; return whether all runs have ended."""
    model.post("/resume")
    return {*waiting.statuses()} <= ENDED


@pytest.mark.parametrize("setting", [None, "continue", "cancel"])
def test_a_disconnect_cancels_what_nobody_can_read_or_what_shall_be(
    settings: Settings, send: Send, model: httpx.Client, setting: str | None
) -> None:
    protocols = dict.fromkeys(PROTOCOLS.values(), setting) if setting else {}
    expected: dict[str, str] = {}
    waiting: dict[str, Waiting] = {}
    with serving(create_app(settings.model_copy(update={"on_disconnect": protocols}))) as url:
        for name, kind, is_streamed in cases():
            for requested in (None, "continue", "cancel"):
                case = f"{name}, {'streamed' if is_streamed else 'whole'}, requested: {requested}"
                default = "continue" if kind.is_readable else "cancel"
                is_cancelled = (requested or setting or default) == "cancel"
                expected[case] = "cancelled" if is_cancelled else "completed"
                body, headers = request_of(kind, requested, is_streamed=is_streamed)
                waiting[case] = send(kind.path, body, at=url, **headers)
        for one in waiting.values():
            one.disconnect()
        for case, one in waiting.items():
            if expected[case] == "cancelled":
                until(lambda one=one: {*one.statuses()} <= ENDED, describe=lambda case=case: case)
        for one in waiting.values():
            until(lambda one=one: all_ended(model, one))
        assert {case: one.statuses() for case, one in waiting.items()} == {
            case: [status] for case, status in expected.items()
        }


def cases() -> Iterator[tuple[str, Kind, bool]]:
    """Yield the kinds of requests, streamed and not."""
    for name, kind in OPENAI_KINDS.items():
        yield from ((name, kind, is_streamed) for is_streamed in (True, False))
    yield from ((name, kind, True) for name, kind in STREAM_KINDS.items())


@pytest.mark.parametrize(
    ("version", "reported_in"), [("2.3", "receive"), ("2.4", "receive"), ("2.4", "send")]
)
def test_a_stream_notices_a_disconnect_in_all_versions_of_asgi(
    settings: Settings, send: Send, version: str, reported_in: str
) -> None:
    app = create_app(settings)
    app.add_middleware(AsgiVersion, version=version, reported_in=reported_in)
    with serving(app) as url:
        waiting = send(CHAT, {**body_of(CHAT, PAUSING), "stream": True}, at=url)
        waiting.disconnect()
        until(lambda: waiting.statuses() == ["cancelled"])


@pytest.mark.parametrize("path", PROTOCOLS)
def test_only_cancel_and_continue_are_known(ann: httpx.Client, path: str) -> None:
    body = with_on_disconnect(path, body_of(path, "Hello"), "explode")
    assert ann.post(path, json=body).status_code in {400, 422}


@pytest.mark.parametrize("requested", [None, "cancel"])
def test_a_response_in_the_background_continues(
    send: Send, model: httpx.Client, requested: str | None
) -> None:
    body = {**body_of(RESPONSES, PAUSING), "stream": True, "background": True, "store": False}
    waiting = send(RESPONSES, with_on_disconnect(RESPONSES, body, requested))
    waiting.disconnect()
    until(lambda: all_ended(model, waiting))
    assert waiting.statuses() == ["completed"]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_cancelled_run_is_counted_and_its_model_stopped(
    send: Send, model: httpx.Client, completed_events: Callable[[str], Any], is_streamed: bool
) -> None:
    waiting = send(CHAT, {**body_of(CHAT, PAUSING), "stream": is_streamed})
    until(lambda: [call["is_paused"] for call in model.get("/calls").json()] == [True])
    waiting.disconnect()
    until(lambda: [call["status"] for call in model.get("/calls").json()] == ["disconnected"])
    until(lambda: waiting.statuses() == ["cancelled"])
    run_id = waiting.runs()[0]["id"]
    run = waiting.person.get(f"/api/v1/runs/{run_id}").json()
    assert run["output"]
    assert 0 < (tokens := run["usage"]["output_tokens"]) < 60
    events = waiting.person.get(f"/api/v1/runs/{run_id}/events").text
    assert [line for line in events.splitlines() if line.startswith("event")][-1] == "event: run.cancelled"
    (counted,) = until(lambda: completed_events(run_id))
    assert counted["status"] == "cancelled"
    assert sum(one["output_tokens"] for one in counted["usage"]) == tokens


@pytest.mark.parametrize("is_streamed", [True, False])
def test_all_choices_are_cancelled_also_those_that_begin_after_the_disconnect(
    send: Send, is_streamed: bool
) -> None:
    waiting = send(CHAT, {**body_of(CHAT, PAUSING), "n": 8, "stream": is_streamed})
    waiting.disconnect()
    until(lambda: waiting.statuses() == ["cancelled"] * 8)


def test_a_dry_run_is_cancelled(send: Send, completed_events: Callable[[str], Any]) -> None:
    body = {"message": PAUSING, "definition": definition()}
    waiting = send("/api/v1/agents/support/dry-run", body, role="admin")
    waiting.disconnect()
    until(lambda: waiting.statuses() == ["cancelled"])
    (counted,) = until(lambda: completed_events(waiting.runs()[0]["id"]))
    assert counted["status"] == "cancelled"


def test_openais_client_cancels_by_closing_its_stream(client: OpenAI, ann: httpx.Client) -> None:
    request: dict[str, Any] = body_of(CHAT, PAUSING)
    stream = client.chat.completions.create(**request, stream=True)
    next(iter(stream))
    stream.close()
    until(lambda: statuses(ann) == ["cancelled"])


@pytest.mark.parametrize("is_streamed", [True, False])
def test_openais_client_cancels_by_its_timeout(client: OpenAI, ann: httpx.Client, is_streamed: bool) -> None:
    request: dict[str, Any] = body_of(CHAT, "Later [sandbox: delay=600s]")
    hasty = client.with_options(timeout=httpx.Timeout(60, read=1))
    with pytest.raises(openai.APITimeoutError):
        [*hasty.chat.completions.create(**request, stream=is_streamed)]
    until(lambda: statuses(ann) == ["cancelled"])


@pytest.mark.parametrize("text", ["Hello", "Look [sandbox: call=look]"])
def test_a_client_that_closes_after_the_last_chunk_leaves_a_completed_run(
    client: OpenAI, ann: httpx.Client, text: str
) -> None:
    request: dict[str, Any] = body_of(CHAT, text)
    stream = client.chat.completions.create(**request, tools=[TOOL], stream=True)
    for chunk in stream:
        if chunk.choices and chunk.choices[0].finish_reason:
            break
    stream.close()
    assert statuses(ann) == ["completed"]


@pytest.mark.parametrize("is_streamed", [True, False])
def test_an_answer_that_asks_for_approval_is_no_disconnect(send: Send, is_streamed: bool) -> None:
    waiting = send(CHAT, {**body_of(CHAT, FORGET), "stream": is_streamed})
    waiting.connection.getresponse().read()
    waiting.connection.close()
    (run,) = waiting.runs()
    path = f"/api/v1/runs/{run['id']}"
    (approval,) = waiting.person.get(path).json()["approvals"]
    waiting.person.post(f"{path}/approvals/{approval['id']}", json={"approve": True}).raise_for_status()
    until(lambda: {*waiting.statuses()} <= ENDED)
    assert waiting.statuses() == ["completed"]


def test_a_queued_run_of_a_conversation_continues(send: Send, model: httpx.Client, url: str) -> None:
    conversation = {"conversation_id": str(uuid4()), "on_conflict": "enqueue"}
    body = {**body_of(CHAT, PAUSING), "metadata": conversation, "stream": True}
    first = send(CHAT, body)
    until(lambda: first.statuses() == ["running"])
    headers = {"authorization": first.person.headers["authorization"]}
    second = Waiting(first.person, http.client.HTTPConnection(httpx.URL(url).netloc.decode(), timeout=60))
    second.connection.request("POST", CHAT, json.dumps(body), {**headers, "content-type": "application/json"})
    until(lambda: sorted(second.statuses()) == ["queued", "running"])
    second.disconnect()
    first.disconnect()
    until(lambda: all_ended(model, first))
    assert first.statuses() == ["completed", "completed"]


def test_a_repeated_request_reads_the_run_of_its_key(send: Send, model: httpx.Client) -> None:
    waiting = send(CHAT, body_of(CHAT, PAUSING), **{"Idempotency-Key": "k"})
    waiting.disconnect()
    until(lambda: all_ended(model, waiting))
    again = waiting.person.post(CHAT, json=body_of(CHAT, PAUSING), headers={"Idempotency-Key": "k"})
    assert again.headers["idempotent-replayed"] == "true"
    assert UUID(again.headers["acme-run-id"]) == UUID(waiting.runs()[0]["id"])
    assert again.json()["usage"]["completion_tokens"] >= 60
