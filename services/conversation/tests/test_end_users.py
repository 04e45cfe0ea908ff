"""Many people behind one key: conversations of one end user do not exist for the others."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from conversation.end_users import retention_rule
from servicekit.auth.tokens import Principal
from servicekit.retention import RetentionWorker
from sqlalchemy import text
from testkit.app import client

HEADER = "Acme-End-User"
SECRET = "my secret plan"
LIST, SEARCH = "/api/v1/conversations", "/api/v1/conversations/search?query=plan"
Application = Callable[..., httpx.AsyncClient]


@pytest.fixture
def application(app, issuer) -> Application:
    """Return a client with one and the same key, for an end user if one is named."""
    client_id = f"ak.{uuid4().hex}"
    token = issuer.token(
        tenant_id=uuid4(), subject=f"service:{client_id}", client_id=client_id, without=("sid",)
    )
    return lambda name=None: client(app, token, **({} if name is None else {HEADER: name}))


async def test_conversations_are_listed_and_found_for_their_end_user_only(application, begin):
    conversation_id = await begin(application("alice"), SECRET)
    for path in (LIST, SEARCH):
        [item] = (await application("alice").get(path)).json()["items"]
        assert item["conversation_id"] == conversation_id
        for other in (application("bob"), application()):
            assert (await other.get(path)).json()["items"] == []


async def test_no_route_crosses_from_one_end_user_to_another(app, application, begin):
    conversation_id = await begin(application("alice"), SECRET)
    bodies = {
        "post": {"items": [{"id": "intruder", "data": {"role": "user", "content": "mine now"}}]},
        "patch": {"title": "mine now"},
    }
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            if "{conversation_id}" not in path:
                continue
            body = {"text": "mine now"} if "{summary_id}" in path else bodies.get(method)
            answer = await application("bob").request(
                method,
                path.format(conversation_id=conversation_id, summary_id="summary-1"),
                json=body,
            )
            assert answer.status_code == 404, (method, path, answer.text)
    detail = (await application("alice").get(f"{LIST}/{conversation_id}")).json()
    assert [message["content"] for message in detail["messages"]] == [SECRET]
    assert detail["title"] == SECRET


async def test_a_repeated_request_of_another_end_user_gets_its_own_answer(application):
    key = {"Idempotency-Key": "one-key"}
    first, second = [
        await application(name).post(LIST, json={"title": "Plans"}, headers=key) for name in ("alice", "bob")
    ]
    assert first.json()["conversation_id"] != second.json()["conversation_id"]


async def test_a_service_acts_for_an_end_user(service):
    tenant_id, conversation_id, key = uuid4(), uuid4(), f"service:ak.{uuid4().hex}"
    path = f"/internal/v1/conversations/{conversation_id}"
    assert (await service(tenant_id, f"{key}/alice%20b").put(path, json={})).status_code == 200
    for other, expected in ((f"{key}/bob", 404), (f"{key}1", 404), (key, 200)):
        assert (await service(tenant_id, other).get(f"{path}/items")).status_code == expected
    for nonsense in (f"{key}/", f"{key}/a/b", f"user:{uuid4()}/alice"):
        answer = await service(tenant_id, nonsense).get(f"{path}/items")
        assert answer.json()["code"] == "invalid_on_behalf_of"


async def test_a_service_lists_and_deletes_what_is_of_one_end_user(service):
    tenant_id, key = uuid4(), f"service:ak.{uuid4().hex}"
    alice, bob = service(tenant_id, f"{key}/alice"), service(tenant_id, f"{key}/bob")
    for who in (alice, alice, bob):
        await who.put(f"/internal/v1/conversations/{uuid4()}", json={})
    first = (await alice.get("/internal/v1/conversations", params={"limit": 1})).json()
    assert len(first["items"]) == 1
    rest = await alice.get("/internal/v1/conversations", params={"cursor": first["next_cursor"]})
    assert len(rest.json()["items"]) == 1
    for deleted in (2, 0):
        assert (await alice.delete("/internal/v1/conversations")).json() == {"deleted": deleted}
    assert len((await bob.get("/internal/v1/conversations")).json()["items"]) == 1


async def test_a_late_turn_of_an_erased_end_user_is_refused(app, service):
    tenant_id, key, now = uuid4(), f"service:ak.{uuid4().hex}", datetime.now(UTC)
    alice, bob = service(tenant_id, f"{key}/alice"), service(tenant_id, f"{key}/bob")

    def turn(begun_at):
        run_id = uuid4()
        item = {"id": f"{run_id}-1", "data": {"role": "user", "content": SECRET}}
        sent = {"attempt": 1, "items": [item], "begun_at": begun_at.isoformat()}
        return f"/internal/v1/conversations/{uuid4()}/turns/{run_id}", sent

    async def put(who, begun_at):
        path, sent = turn(begun_at)
        return (await who.put(path, json=sent)).status_code

    assert await put(alice, now - timedelta(seconds=5)) == 200
    erased = await alice.delete("/internal/v1/conversations", params={"erased_before": now.isoformat()})
    assert erased.json() == {"deleted": 1}
    # It waited somewhere until now.
    assert await put(alice, now - timedelta(seconds=5)) == 404
    assert (await alice.get("/internal/v1/conversations")).json()["items"] == []
    assert await put(bob, now - timedelta(seconds=5)) == 200
    assert await put(alice, now + timedelta(seconds=5)) == 200
    earlier = {"erased_before": (now - timedelta(days=1)).isoformat()}
    assert (await alice.delete("/internal/v1/conversations", params=earlier)).json() == {"deleted": 1}
    assert await put(alice, now - timedelta(seconds=5)) == 404
    database = app.state.resources.database
    async with database.begin() as db:
        await db.execute(text("update erased_end_users set recorded_at = now() - interval '25 hours'"))
    await RetentionWorker(database, rules=[retention_rule()]).step()
    async with database.begin() as db:
        assert await db.scalar(text("select count(*) from erased_end_users")) == 0


async def test_a_conversation_of_an_application_becomes_the_first_end_users(app, service):
    tenant_id, conversation_id, key = uuid4(), uuid4(), f"service:ak.{uuid4().hex}"
    path = f"/internal/v1/conversations/{conversation_id}"
    made = await service(tenant_id, key).put(path, json={"metadata": {"topic": "plans"}})
    assert made.json()["metadata"] == {"topic": "plans"}
    item = {"id": "one", "data": {"role": "user", "content": SECRET}}
    await service(tenant_id, key).post(f"{path}/items", json={"items": [item]})
    alice, bob = service(tenant_id, f"{key}/alice"), service(tenant_id, f"{key}/bob")
    assert (await bob.get(path)).status_code == 404
    assert (await alice.put(path, json={})).status_code == 200
    assert (await bob.put(path, json={})).status_code == 404
    for who in (alice, service(tenant_id, key)):
        assert (await who.get(path)).json()["message_count"] == 1
    async with app.state.resources.database.begin() as db:
        query = text(
            "select user_id, conversations, bytes > 0 from usage where tenant_id = :id order by user_id"
        )
        rows = [tuple(row) for row in await db.execute(query, {"id": tenant_id})]
    assert rows == [(key, 0, False), (f"{key}/alice", 1, True)]


async def test_a_person_names_no_end_user(ann):
    answer = await ann.get(LIST, headers={HEADER: "alice"})
    assert (answer.status_code, answer.json()["code"]) == (403, "end_user_forbidden")


@pytest.mark.parametrize("name", [b"", b" ", b"x" * 129, b"\xff", b"a\x01b", "\u200b".encode()])
async def test_refuses_a_name_that_is_none(application, name):
    answer = await application().get(LIST, headers={HEADER.encode(): name})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_end_user")


async def test_a_header_may_name_an_end_user_in_any_language(application, begin):
    await begin(application("Zoë 上海".encode()), SECRET)
    [item] = (await application("Zoë 上海".encode()).get(SEARCH)).json()["items"]
    assert item["snippet"] == SECRET


def test_the_longest_name_is_an_id_that_services_pass_on():
    principal = Principal(
        subject="service:ak.1",
        tenant_id=uuid4(),
        role=None,
        scopes=frozenset(),
        client_id="ak.1",
        session_id=None,
        token_id="-",
        email_verified=False,
        amr=(),
        auth_time=None,
        audience=(),
        expires_at=0,
        end_user="😀" * 128,
    )
    assert len(principal.user_id.partition("/")[2]) == 1536
