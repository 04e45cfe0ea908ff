"""Whose conversations these are: asked at every route, on both ports."""

from uuid import uuid4

import pytest
from fastapi import FastAPI
from testkit.app import client

ITEM = {"items": [{"id": "intruder", "data": {"role": "user", "content": "mine now"}}]}

RUN = uuid4()
TURN_ITEMS = {"attempt": 1, "items": [{"id": f"{RUN}-0001", "data": {"role": "user", "content": "mine now"}}]}
SUMMARY = {"text": "mine now", "first_position": 1, "last_position": 1, "item_count": 1}
TURN = {**TURN_ITEMS, "last": 1}

# Every route that names a conversation: how to call it, and with what.
PUBLIC = {
    ("get", "/api/v1/conversations/{conversation_id}"): None,
    ("patch", "/api/v1/conversations/{conversation_id}"): {"title": "mine now"},
    ("delete", "/api/v1/conversations/{conversation_id}"): None,
    ("get", "/api/v1/conversations/{conversation_id}/items"): None,
    ("post", "/api/v1/conversations/{conversation_id}/items"): ITEM,
    ("patch", "/api/v1/conversations/{conversation_id}/summaries/{summary_id}"): {"text": "mine now"},
    ("delete", "/api/v1/conversations/{conversation_id}/summaries/{summary_id}"): None,
}
LISTS = {
    ("get", "/api/v1/conversations"): None,
    ("post", "/api/v1/conversations"): {},
    ("get", "/api/v1/conversations/search"): None,
}
INTERNAL = {
    ("put", "/internal/v1/conversations/{conversation_id}"): {},
    ("get", "/internal/v1/conversations/{conversation_id}/items"): None,
    ("delete", "/internal/v1/conversations/{conversation_id}"): None,
    ("get", "/internal/v1/conversations/{conversation_id}"): None,
    ("patch", "/internal/v1/conversations/{conversation_id}"): {"metadata": {"a": "b"}},
    ("get", "/internal/v1/conversations/{conversation_id}/item-list"): None,
    ("post", "/internal/v1/conversations/{conversation_id}/items"): ITEM,
    ("get", "/internal/v1/conversations/{conversation_id}/items/{item_id}"): None,
    ("delete", "/internal/v1/conversations/{conversation_id}/items/{item_id}"): None,
    ("get", "/internal/v1/conversations/{conversation_id}/item-page"): None,
    ("delete", "/internal/v1/conversations/{conversation_id}/items"): None,
    ("put", "/internal/v1/conversations/{conversation_id}/turns/{run_id}"): TURN,
    ("post", "/internal/v1/conversations/{conversation_id}/turns/{run_id}/items"): TURN_ITEMS,
    ("delete", "/internal/v1/conversations/{conversation_id}/turns/{run_id}?attempt=1"): None,
    ("get", "/internal/v1/conversations/{conversation_id}/history"): None,
    ("put", "/internal/v1/conversations/{conversation_id}/summaries/{summary_id}"): SUMMARY,
}
INTERNAL_LISTS = {
    ("get", "/internal/v1/search"): None,
    ("get", "/internal/v1/conversations"): None,
    ("delete", "/internal/v1/conversations"): None,
}


def routes(app: FastAPI) -> set[tuple[str, str]]:
    paths = app.openapi()["paths"]
    return {
        (method, path)
        for path, operations in paths.items()
        for method in operations
        if path.startswith(("/api", "/internal"))
    }


def named(table):
    return pytest.mark.parametrize(
        "route",
        [(*route, body) for route, body in table.items()],
        ids=[" ".join(route) for route in table],
    )


async def test_no_route_is_left_out_here(app):
    assert routes(app) == {*PUBLIC, *LISTS}
    named = {(method, path.partition("?")[0]) for method, path in (*INTERNAL, *INTERNAL_LISTS)}
    assert routes(app.state.internal) == named


@pytest.fixture
async def anns(person, begin):
    """Ann's tenant, her subject, and a conversation of hers."""
    tenant_id, subject = uuid4(), f"user:{uuid4()}"
    return tenant_id, subject, await begin(person(tenant_id, subject), "my secret plan")


async def seen_by_ann(person, anns) -> dict:
    tenant_id, subject, conversation_id = anns
    return (await person(tenant_id, subject).get(f"/api/v1/conversations/{conversation_id}")).json()


@named(PUBLIC)
@pytest.mark.parametrize(
    "who", ["a colleague", "a stranger of another tenant", "her own name in another tenant"]
)
async def test_a_conversation_does_not_exist_for_others(person, anns, route, who):
    method, path, body = route
    tenant_id, subject, conversation_id = anns
    other = {
        "a colleague": (tenant_id, f"user:{uuid4()}"),
        "a stranger of another tenant": (uuid4(), f"user:{uuid4()}"),
        "her own name in another tenant": (uuid4(), subject),
    }[who]
    before = await seen_by_ann(person, anns)

    answer = await person(*other, role="owner").request(
        method, path.format(conversation_id=conversation_id, summary_id="s1"), json=body
    )

    assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found")
    assert await seen_by_ann(person, anns) == before


@named(INTERNAL)
@pytest.mark.parametrize("who", ["a colleague", "a stranger"])
async def test_a_service_acts_only_on_what_is_its_principals(person, service, anns, route, who):
    method, path, body = route
    tenant_id, _, conversation_id = anns
    other = service(tenant_id if who == "a colleague" else None)
    before = await seen_by_ann(person, anns)

    answer = await other.request(
        method,
        path.format(conversation_id=conversation_id, item_id="m1", run_id=RUN, summary_id="s1"),
        json=body,
    )

    assert (answer.status_code, answer.json()["code"]) == (404, "conversation_not_found")
    assert await seen_by_ann(person, anns) == before


async def test_lists_and_finds_only_ones_own(person, service, anns):
    tenant_id, subject, conversation_id = anns
    colleague, ann = person(tenant_id), person(tenant_id, subject)
    for theirs in ("/api/v1/conversations", "/api/v1/conversations/search?query=secret"):
        assert (await colleague.get(theirs)).json() == {"items": [], "next_cursor": None}
        assert [one["conversation_id"] for one in (await ann.get(theirs)).json()["items"]] == [
            conversation_id
        ]

    search = "/internal/v1/search?query=secret"
    assert (await service(tenant_id).get(search)).json()["items"] == []
    assert len((await service(tenant_id, subject).get(search)).json()["items"]) == 1


@named({**PUBLIC, **LISTS})
async def test_the_public_port_requires_a_valid_token(app, issuer, anns, route):
    method, path, body = route
    path = path.format(conversation_id=anns[2], summary_id="s1")
    bad = {
        "none": None,
        "not one": "abc",
        "expired": issuer.token(iat=1, nbf=1, exp=2),
        "of another issuer": issuer.token(iss="https://elsewhere.test"),
        "for another audience": issuer.token(aud="somebody-else"),
        "unsigned": issuer.token(header={"alg": "none"}),
        "without a subject": issuer.token(without=["sub"]),
        "of a service": issuer.service_token(
            "chat-agent", audience="conversation", scope="conversations:read"
        ),
    }
    answers = {why: await client(app, token).request(method, path, json=body) for why, token in bad.items()}

    of_a_service = answers.pop("of a service")
    assert {why: answer.status_code for why, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert of_a_service.status_code == 403


@named({**INTERNAL, **INTERNAL_LISTS})
async def test_the_internal_port_requires_a_service_with_the_scope(app, issuer, service, anns, route):
    method, path, body = route
    tenant_id, subject, conversation_id = anns
    path = path.format(conversation_id=conversation_id, item_id="m1", run_id=RUN, summary_id="s1")
    mine = {"Acme-On-Behalf-Of": f"{tenant_id}/{subject}"}
    scope = "conversations:read conversations:write"
    of_a_service = issuer.service_token("chat-agent", audience="conversation", scope=scope)
    for_another = issuer.service_token("chat-agent", audience="billing-webhook", scope=scope)
    inside = app.state.internal

    async def ask(who):
        async with who:
            return (await who.request(method, path, json=body, params={"query": "x"})).status_code

    assert await ask(client(inside, **mine)) == 401
    assert await ask(client(inside, "abc", **mine)) == 401
    assert await ask(client(inside, for_another, **mine)) == 401
    assert await ask(client(inside, issuer.token(tenant_id=tenant_id, subject=subject), **mine)) == 403
    assert await ask(service(tenant_id, subject, scope="billing:read")) == 403
    assert await ask(client(inside, of_a_service)) == 400
    assert await ask(client(inside, of_a_service, **{"Acme-On-Behalf-Of": f"{tenant_id}"})) == 400


@pytest.mark.parametrize(("method", "path"), [*PUBLIC, *LISTS], ids=lambda part: part)
async def test_a_viewer_may_only_read(person, anns, method, path):
    tenant_id, subject, conversation_id = anns
    viewer = person(tenant_id, subject, role="viewer")
    body = PUBLIC.get((method, path), LISTS.get((method, path)))

    answer = await viewer.request(
        method,
        path.format(conversation_id=conversation_id, summary_id="s1"),
        json=body,
        params={"query": "x"},
    )

    assert answer.status_code == (200 if method == "get" else 403)


async def test_the_other_port_has_none_of_these_routes(person, service, anns):
    assert (await person().get("/internal/v1/search?query=x")).status_code == 404
    assert (await service().get("/api/v1/conversations")).status_code == 404
