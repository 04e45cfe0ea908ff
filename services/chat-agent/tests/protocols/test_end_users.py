"""Many people behind one key: what an application stores for one of its end users is nobody else's."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from chat_agent.main import create_app
from chat_agent.settings import Settings
from fastapi import FastAPI
from openai import OpenAI
from testkit.live_server import serving

from ..client_helpers import RUNS, error_of, read_run, start_run, start_streaming_run, wait_until_finished
from ..conftest import TENANT, OtherServices

SECRET = "the zebra is called Wilhelmine"
SEARCH = "What did I say about the zebra?"
END_USERS = "/api/v1/end-users"
MEMORIES = "/api/v1/memories"
HEADER = "Acme-End-User"
WAITS = "Forget it [sandbox: call=forget_conversation]"
# It is for those who manage agents, and end users are none of them.
CORRECTED = "/api/v1/agents/{name}/feedback/{run_id}"
# What routes need that name something by its id.
BODIES: dict[str, Any] = {
    "/api/v1/memories/{memory_id}": {"text": "mine now"},
    "/api/v1/runs/{run_id}/feedback": {"rating": "up"},
    "/api/v1/runs/{run_id}/approvals/{approval_id}": {"approve": False},
    "/v1/conversations/{conversation_id}": {"metadata": {"mine": "now"}},
    "/v1/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "mine now"}]},
}

Application = Callable[..., httpx.Client]


@pytest.fixture
def application(person: Callable[..., httpx.Client]) -> Application:
    """Return a client with one and the same key, for an end user if one is named."""
    subject = f"service:ak.{uuid4().hex}"

    def client_for(end_user: str | None = None) -> httpx.Client:
        client = person(subject=subject)
        if end_user is not None:
            client.headers[HEADER] = end_user
        return client

    return client_for


@pytest.fixture
def client(openai_of: Callable[..., OpenAI], application: Application) -> OpenAI:
    return openai_of(application())


def run_of(application: Application, response_id: str) -> dict[str, Any]:
    return read_run(application(), {"id": str(uuid_of(response_id))})


def uuid_of(name: str) -> str:
    return re.sub("^(resp|conv)_", "", name)


def test_a_search_for_one_end_user_does_not_find_messages_of_another(client: OpenAI) -> None:
    client.responses.create(model="triage", input=SECRET, user="alice")
    completion = client.chat.completions.create(
        model="triage", messages=[{"role": "user", "content": SECRET}], safety_identifier="alice"
    )
    assert completion.choices
    assert "Wilhelmine" in client.responses.create(model="triage", input=SEARCH, user="alice").output_text
    for name in ({"user": "bob"}, {}):
        assert "Wilhelmine" not in client.responses.create(model="triage", input=SEARCH, **name).output_text


def test_no_route_crosses_from_one_end_user_to_another(
    app: FastAPI, application: Application, other_services: OtherServices
) -> None:
    alice, bob = application("alice"), application("bob")
    finished = wait_until_finished(alice, start_run(alice, SECRET))
    waiting = wait_until_finished(alice, start_run(alice, WAITS))
    [approval] = read_run(alice, waiting)["approvals"]
    form: dict[str, Any] = {"files": {"file": (SECRET, SECRET.encode())}, "data": {"purpose": "user_data"}}
    file_id = alice.post("/v1/files", **form).json()["id"]
    conversation_id = finished["conversation_id"]
    memory = alice.post(MEMORIES, json={"text": SECRET}).json()
    before = [*other_services.items[conversation_id]], read_run(alice, waiting)
    for run in (finished, waiting):
        ids = {
            "run_id": run["id"],
            "approval_id": approval["id"],
            "response_id": f"resp_{run['id'].replace('-', '')}",
            "conversation_id": f"conv_{conversation_id.replace('-', '')}",
            "memory_id": memory["id"],
            "chat_id": conversation_id,
            "name": "triage",
            "file_id": file_id,
            "item_id": other_services.items[conversation_id][0]["id"],
            "end_user": "alice",
            "number": 1,
            "provider": "openai",
        }
        for method, path in named_routes(app):
            body = BODIES.get(path)
            answer = bob.request(method, path.format(**ids), json=body, headers={"Last-Event-ID": "0"})
            assert SECRET not in answer.text, path
            assert finished["id"] not in answer.text, path
            if "_id}" in path:
                refusals = {403} if path == CORRECTED else {204, 404}
                assert answer.status_code in refusals, (path, answer.text)
    for path, request in continuing(finished).items():
        answer = bob.post(path, json=request)
        assert answer.status_code == 404, (path, answer.text)
    assert (other_services.items[conversation_id], read_run(alice, waiting)) == before
    assert bob.delete(MEMORIES).status_code == 204
    assert alice.get(MEMORIES).json()["items"] == [memory]
    assert alice.get(f"/v1/files/{file_id}/content").text == SECRET


def named_routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Walk the routes that list or find something, or name something by its id."""
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            if method == "get" or "_id}" in path:
                yield method, path


def continuing(run: dict[str, Any]) -> dict[str, Any]:
    """Return requests that continue the conversation of a run."""
    id_, text = run["conversation_id"], "What have I told you?"
    message = {"role": "user", "content": text}
    return {
        "/api/v1/chat": {"message": text, "conversation_id": id_},
        "/api/v1/chat/stream": {"message": text, "conversation_id": id_},
        "/api/v1/runs": {"message": text, "conversation_id": id_, "on_conflict": "rollback"},
        "/v1/chat/completions": {
            "model": "triage",
            "messages": [message],
            "metadata": {"conversation_id": id_},
        },
        "/v1/responses": {
            "input": text,
            "previous_response_id": f"resp_{run['id'].replace('-', '')}",
        },
        "/api/v1/agents/triage/ag-ui": {
            "threadId": id_,
            "runId": "1",
            "messages": [{"id": "1", **message}],
            "tools": [],
            "context": [],
        },
        "/api/v1/chat/ui": {
            "id": id_,
            "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}],
            "trigger": "submit-message",
        },
    }


def test_an_application_continues_by_id_what_it_has_begun_for_an_end_user(
    client: OpenAI, application: Application
) -> None:
    first = client.responses.create(model="triage", input="My name is Zoe.", user="alice")
    assert client.responses.retrieve(first.id).output_text == first.output_text
    second = client.responses.create(model="triage", input="Go on", previous_response_id=first.id)
    owner = run_of(application, first.id)["user_id"]
    assert owner.endswith("/alice")
    assert run_of(application, second.id)["user_id"] == owner
    assert application().get(RUNS).json()["items"] == []
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="triage", input="Go on", previous_response_id=first.id, user="bob")


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        ("carol", {"safety_identifier": "alice", "user": "bob"}, "carol"),
        (None, {"safety_identifier": "alice", "user": "bob"}, "alice"),
        (None, {"user": "bob"}, "bob"),
        (None, {"user": "Zoë / 上海"}, "Zo%C3%AB%20%2F%20%E4%B8%8A%E6%B5%B7"),
        (None, {"user": "a@b.example"}, "a@b.example"),
    ],
)
def test_names_an_end_user(
    client: OpenAI, application: Application, header: str | None, body: dict[str, str], expected: str
) -> None:
    headers = {HEADER: header} if header else {}
    response = client.responses.create(model="triage", input="Hello", **body, extra_headers=headers)
    assert run_of(application, response.id)["user_id"].partition("/")[2] == expected
    assert response.user == body.get("user")


@pytest.mark.parametrize("name", ["", " ", "alice ", "a\nb", "\0", "x" * 129, "\u200b"])
def test_refuses_a_name_that_is_none(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="triage", input="Hello", user=name)
    assert refused.value.param == "user"


def test_a_person_acts_for_nobody_else(ann: httpx.Client, openai_of: Callable[..., OpenAI]) -> None:
    refused = ann.get(RUNS, headers={HEADER: "alice"})
    assert error_of(refused) == (403, "end_user_forbidden")
    # Clients send it along, and it changes nothing.
    response = openai_of(ann).responses.create(model="triage", input="Hello", user="alice")
    [run] = ann.get(RUNS).json()["items"]
    assert run["id"].replace("-", "") == uuid_of(response.id)
    assert re.fullmatch("user:[0-9a-f-]{36}", run["user_id"])


def test_exports_the_images_of_an_end_user(
    application: Application, settings: Settings, other_services: OtherServices
) -> None:
    alice, bob, key = application("alice"), application("bob"), application()
    taking = settings.model_copy(update={"model_inputs": {"*": frozenset({"image"})}})
    with serving(create_app(taking)) as url:
        for client, pixels in ((alice, (b"one", b"two")), (bob, (b"three",))):
            for pixel in pixels:
                data = f"data:image/png;base64,{base64.b64encode(pixel).decode()}"
                content = [{"type": "image_url", "image_url": {"url": data}}]
                body = {"model": "triage", "messages": [{"role": "user", "content": content}]}
                assert client.post(f"{url}/v1/chat/completions", json=body).status_code == 200
    parts = [json.loads(line) for line in key.get(END_USERS, params={"name": "alice"}).content.splitlines()]
    images = [part for part in parts if part["type"] == "attachment"]
    assert {base64.b64decode(image["data"]) for image in images} == {b"one", b"two"}
    assert {image["media_type"] for image in images} == {"image/png"}
    assert {image["run_id"] for image in images} == {part["id"] for part in parts if part["type"] == "run"}
    assert all(image["file_id"] in str(parts) for image in images)


def test_exports_and_erases_an_end_user(application: Application, other_services: OtherServices) -> None:
    alice, bob, key = application("alice"), application("bob"), application()
    runs = [wait_until_finished(alice, start_run(alice, SECRET)) for _ in range(2)]
    wait_until_finished(alice, start_run(alice, WAITS))
    theirs = wait_until_finished(bob, start_run(bob, "Hello"))
    start_streaming_run(alice)
    memory = alice.post(MEMORIES, json={"text": SECRET}).json()
    for client in (key, alice):
        assert SECRET in client.get(END_USERS, params={"name": "alice"}).text
    parts = [json.loads(line) for line in key.get(END_USERS, params={"name": "alice"}).content.splitlines()]
    assert [part["type"] for part in parts].count("conversation") == 4
    exported = {part["id"]: part["output"] for part in parts if part["type"] == "run"}
    assert exported.items() >= {run["id"]: run["output"] for run in runs}.items()
    assert [part["id"] for part in parts if part["type"] == "memory"] == [memory["id"]]
    assert {
        part["conversation_id"] for part in parts if SECRET in str(part) and part["type"] != "memory"
    } == {run["conversation_id"] for run in runs}
    assert error_of(bob.get(END_USERS, params={"name": "alice"})) == (404, "end_user_not_found")
    assert error_of(bob.delete(END_USERS, params={"name": "alice"})) == (404, "end_user_not_found")
    assert key.delete(END_USERS, params={"name": "alice"}).status_code == 204
    assert key.get(END_USERS, params={"name": "alice"}).text == ""
    assert alice.get(RUNS).json()["items"] == alice.get(MEMORIES).json()["items"] == []
    assert {owner for id, owner in other_services.owners.items() if id in other_services.items} == {
        f"{TENANT}/{theirs['user_id']}"
    }
    # They may come again.
    assert wait_until_finished(alice, start_run(alice, "Hello"))["status"] == "completed"


def test_owners_and_admins_manage_end_users_of_applications(
    application: Application, person: Callable[..., httpx.Client]
) -> None:
    run = wait_until_finished(application("alice"), start_run(application("alice"), SECRET))
    client_id = run["user_id"].removeprefix("service:").partition("/")[0]
    alice = {"name": "alice", "application": client_id}
    for role in ("member", "viewer"):
        refused = person(role=role).get(END_USERS, params=alice)
        assert error_of(refused) == (403, "application_forbidden")
    admin = person(role="admin")
    assert error_of(admin.get(END_USERS, params={"name": "alice"})) == (400, "application_missing")
    assert SECRET in admin.get(END_USERS, params=alice).text
    stranger = person(tenant_id=uuid4(), role="owner")
    assert stranger.get(END_USERS, params=alice).text == ""
    assert stranger.delete(END_USERS, params=alice).status_code == 204
    assert SECRET in admin.get(END_USERS, params=alice).text
    assert admin.delete(END_USERS, params=alice).status_code == 204
    assert admin.get(END_USERS, params=alice).text == ""


def test_erases_nobody_while_conversations_are_out_of_reach(
    application: Application, other_services: OtherServices
) -> None:
    wait_until_finished(application("alice"), start_run(application("alice"), SECRET))
    other_services.down = True
    for method in ("get", "delete"):
        answer = application().request(method, END_USERS, params={"name": "alice"})
        assert error_of(answer) == (503, "conversation_unavailable")
    other_services.down = False
    assert SECRET in application().get(END_USERS, params={"name": "alice"}).text


def test_end_users_have_limits_and_totals_of_their_own(application: Application, settings: Settings) -> None:
    request = {"model": "triage", "messages": [{"role": "user", "content": "Hello"}]}
    strict = settings.model_copy(update={"chat_rate_limit_per_minute": 1})
    with serving(create_app(strict)) as url:
        path = f"{url}/v1/chat/completions"
        assert application("alice").post(path, json=request).status_code == 200
        assert application().post(path, json={**request, "user": "alice"}).status_code == 429
        assert application().post(path, json={**request, "user": "bob"}).status_code == 200
    for name in ("alice", "bob"):
        [total] = application(name).get(f"{RUNS}/totals").json()
        assert total["runs"] == 1
    assert application("carol").get(f"{RUNS}/totals").json() == []
