"""Authentication of a service: a real app, real tokens, keys over real HTTP."""

import logging
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Annotated
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from servicekit import context, errors
from servicekit.auth.call_limits import CallRates
from servicekit.auth.dependencies import (
    Caller,
    PolicyMissing,
    SignedIn,
    assert_policies,
    on_behalf_of,
    public,
    require,
)
from servicekit.auth.tokens import Principal, TokenVerifier
from servicekit.jwks.cache import JwksCache
from testkit.issuer import Issuer, JwksResponse

TENANT = UUID("7e4a0000-0000-4000-8000-000000000001")
OTHER = UUID("7e4a0000-0000-4000-8000-0000000000ff")
PERSON = "user:05e70000-0000-4000-8000-000000000002"
FOR_PERSON = {"Acme-On-Behalf-Of": f"{TENANT}/{PERSON}"}

Reader = Annotated[Principal, require("conversations:read")]
Writer = Annotated[Principal, require("conversations:write")]
Admin = Annotated[Principal, require("members:manage")]
Actor = Annotated[Principal, on_behalf_of("conversations:write")]


def caller_fields(principal: Principal) -> dict[str, str | None]:
    return {
        "subject": principal.subject,
        "tenant": str(principal.tenant_id),
        "role": str(principal.role) if principal.role else None,
        "client": principal.client_id,
    }


router = APIRouter()


@router.get("/me")
async def read_me(caller: Caller) -> dict[str, str | None]:
    return caller_fields(caller)


@router.get("/signed-in")
async def read_signed_in(caller: SignedIn) -> dict[str, str | None]:
    return caller_fields(caller)


@router.get("/read")
async def read(caller: Reader) -> dict[str, str | None]:
    return caller_fields(caller)


@router.get("/write")
async def write(caller: Writer) -> dict[str, str | None]:
    return caller_fields(caller)


@router.get("/admin")
async def administer(caller: Admin) -> dict[str, str | None]:
    return caller_fields(caller)


@router.get("/internal/v1/act")
async def act(actor: Actor) -> dict[str, str | None]:
    return caller_fields(actor)


@router.get("/open", dependencies=[public])
async def answer_anyone() -> str:
    return "hello"


@router.get("/context", dependencies=[require("conversations:read")])
async def read_context(request: Request) -> dict[str, str | None]:
    return {
        **context.current(),
        "principal": request.state.principal.subject,
        "role": str(request.state.principal.role),
    }


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
async def app(issuer: Issuer, rates: CallRates) -> FastAPI:
    keys = JwksCache(issuer.jwks_url)
    verifier = TokenVerifier(keys, issuer=issuer.issuer, audiences=["acme-api", "conversation"])
    app = FastAPI()
    app.state.resources = SimpleNamespace(name="conversation", verifier=verifier, rates=rates)
    errors.install(app)
    app.include_router(router)
    assert_policies(app)
    return app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }


def problem(response: httpx.Response, status: int, code: str) -> httpx.Response:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    return response


async def test_lets_a_person_in(http, issuer):
    token = issuer.token(tenant_id=TENANT, subject=PERSON, role="member")
    answer = await http.get("/me", headers=bearer(token))
    assert answer.json() == {"subject": PERSON, "tenant": str(TENANT), "role": "member", "client": "acme-web"}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_reads_the_scheme_in_any_case(http, issuer, scheme):
    answer = await http.get("/me", headers={"Authorization": f"{scheme} {issuer.token()}"})
    assert answer.status_code == 200


async def test_lets_a_machine_of_a_tenant_in(http, issuer):
    token = issuer.service_token(
        "robot", audience="acme-api", scope="conversations:*", tenant_id=str(TENANT), role="viewer"
    )
    assert (await http.get("/read", headers=bearer(token))).json()["subject"] == "service:robot"
    problem(await http.get("/write", headers=bearer(token)), 403, "forbidden")


async def test_lets_no_machine_without_a_tenant_into_a_tenants_routes(http, issuer):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:read")
    problem(await http.get("/me", headers=bearer(token)), 403, "forbidden")
    problem(await http.get("/read", headers=bearer(token)), 403, "forbidden")


async def test_lets_a_person_without_a_tenant_in_only_where_the_route_says_so(http, issuer):
    token = issuer.token(subject=PERSON, without=["tenant_id", "role", "scope"])
    bearer = {"Authorization": f"Bearer {token}"}
    answer = await http.get("/signed-in", headers=bearer)
    assert (answer.status_code, answer.json()["tenant"], answer.json()["role"]) == (200, "None", None)
    for path in ("/me", "/read"):
        assert (await http.get(path, headers=bearer)).status_code == 403
    for header in ({"X-Tenant-Id": str(TENANT)}, {"X-Tenant-Role": "viewer"}):
        assert (await http.get("/signed-in", headers={**bearer, **header})).status_code == 403
    machine = issuer.service_token("robot", audience="acme-api", scope="tools:read")
    headers = {"Authorization": f"Bearer {machine}"}
    assert (await http.get("/signed-in", headers=headers)).status_code == 403
    inside = issuer.token(tenant_id=TENANT, subject=PERSON, role="viewer")
    answer = await http.get("/signed-in", headers={"Authorization": f"Bearer {inside}"})
    assert answer.json()["tenant"] == str(TENANT)


async def test_needs_no_token_where_the_route_says_so(http):
    assert (await http.get("/open")).json() == "hello"


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}]
)
async def test_challenges_who_brings_no_token_without_accusing(http, headers):
    answer = problem(await http.get("/read", headers=headers), 401, "token_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_accuses_who_brings_a_bad_token(http, issuer):
    for token in ("garbage", issuer.token(iss="https://evil.example"), issuer.token(exp=1)):
        answer = problem(await http.get("/read", headers=bearer(token)), 401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


async def test_never_repeats_a_token(http, issuer, caplog):
    caplog.set_level(logging.DEBUG)
    token = issuer.token(aud="other")
    answer = await http.get("/read", headers=bearer(token))
    output = answer.text + str(answer.headers) + caplog.text
    output += repr([vars(record) for record in caplog.records])
    assert not [part for part in token.split(".") if part in output]


async def test_takes_a_token_from_nowhere_but_the_header(http, issuer):
    token = issuer.token()
    by_query = await http.get("/read", params={"access_token": token, "token": token})
    by_cookie = await http.get(
        "/read", headers={"Cookie": f"access_token={token}; Authorization=Bearer {token}"}
    )
    by_body = await http.request("GET", "/read", data={"access_token": token})
    for answer in (by_query, by_cookie, by_body):
        problem(answer, 401, "token_missing")


async def test_refuses_two_authorization_headers(http, issuer):
    twice = [("Authorization", f"Bearer {issuer.token()}")] * 2
    problem(await http.get("/read", headers=twice), 400, "header_repeated")


async def test_says_503_when_the_keys_cannot_be_had(issuer, rates):
    with Issuer(issuer.issuer) as down:
        down.answer = JwksResponse(status=500)
        verifier = TokenVerifier(JwksCache(down.jwks_url), issuer=issuer.issuer, audiences=["acme-api"])
        app = FastAPI()
        app.state.resources = SimpleNamespace(name="conversation", verifier=verifier, rates=rates)
        errors.install(app)
        app.include_router(router)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            answer = problem(
                await http.get("/read", headers=bearer(down.token())), 503, "key_source_unavailable"
            )
    assert int(answer.headers["Retry-After"]) >= 1
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("viewer", "/read", 200),
        ("viewer", "/write", 403),
        ("viewer", "/admin", 403),
        ("member", "/write", 200),
        ("member", "/admin", 403),
        ("admin", "/admin", 200),
        ("owner", "/admin", 200),
    ],
)
async def test_lets_roles_decide(http, issuer, role, path, status):
    for changed in ({}, {"without": ["scope"]}, {"scope": "conversations:* members:*"}):
        answer = await http.get(path, headers=bearer(issuer.token(role=role, **changed)))
        assert answer.status_code == status
        assert status == 200 or answer.json()["code"] == "forbidden"


async def test_lets_scopes_take_away(http, issuer):
    token = issuer.token(role="owner", scope="tools:read conversations:read")
    assert (await http.get("/read", headers=bearer(token))).status_code == 200
    answer = problem(await http.get("/write", headers=bearer(token)), 403, "insufficient_scope")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge == 'Bearer error="insufficient_scope", scope="conversations:write"'
    assert "`conversations:write`" in answer.json()["detail"]


async def test_takes_the_tokens_own_tenant_when_it_is_repeated(http, issuer):
    token = issuer.token(tenant_id=TENANT)
    for spelling in (str(TENANT), str(TENANT).upper()):
        assert (await http.get("/me", headers=bearer(token, X_Tenant_Id=spelling))).status_code == 200


@pytest.mark.parametrize(
    "tenant",
    [str(OTHER), "", "*", TENANT.hex, f"{TENANT},{TENANT}", f"{TENANT}, {OTHER}", "null", "' OR 1=1"],
)
async def test_refuses_any_other_tenant(http, issuer, tenant):
    token = issuer.token(tenant_id=TENANT)
    problem(await http.get("/me", headers=bearer(token, X_Tenant_Id=tenant)), 403, "tenant_mismatch")


@pytest.mark.parametrize("name", ["X-Tenant-Id", "X-Tenant-Role"])
async def test_refuses_a_header_that_comes_twice(http, issuer, name):
    value = str(TENANT) if name == "X-Tenant-Id" else "viewer"
    headers = [("Authorization", f"Bearer {issuer.token(tenant_id=TENANT)}"), (name, value), (name, value)]
    problem(await http.get("/me", headers=headers), 400, "header_repeated")


@pytest.mark.parametrize("requested", ["viewer", "member", "admin"])
async def test_lowers_the_role_on_demand(http, issuer, requested):
    answer = await http.get("/me", headers=bearer(issuer.token(role="admin"), X_Tenant_Role=requested))
    assert answer.json()["role"] == requested


async def test_lets_every_check_see_the_lowered_role(http, issuer):
    headers = bearer(issuer.token(role="owner"), X_Tenant_Role="viewer")
    assert (await http.get("/read", headers=headers)).json()["role"] == "viewer"
    assert (await http.get("/context", headers=headers)).json()["role"] == "viewer"
    problem(await http.get("/write", headers=headers), 403, "forbidden")


@pytest.mark.parametrize(
    ("role", "requested"), [("viewer", "member"), ("member", "owner"), ("admin", "owner")]
)
async def test_never_raises_a_role(http, issuer, role, requested):
    headers = bearer(issuer.token(role=role), X_Tenant_Role=requested)
    problem(await http.get("/me", headers=headers), 403, "role_escalation")


@pytest.mark.parametrize(
    "requested", ["", "root", "Viewer", "viewer,viewer", "viewer, member", "viewer;", "*"]
)
async def test_refuses_a_role_that_is_none(http, issuer, requested):
    headers = bearer(issuer.token(role="owner"), X_Tenant_Role=requested)
    problem(await http.get("/me", headers=headers), 400, "invalid_role")


async def test_tells_the_logs_whose_request_it_is(http, issuer):
    with context.scope():
        answer = await http.get("/context", headers=bearer(issuer.token(tenant_id=TENANT, subject=PERSON)))
    assert answer.json() == {
        "tenant_id": str(TENANT),
        "user_id": PERSON,
        "principal": PERSON,
        "role": "owner",
    }


async def test_lets_a_service_act_for_a_person(http, issuer):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:write")
    answer = await http.get("/internal/v1/act", headers={**bearer(token), **FOR_PERSON})
    assert answer.json() == {"subject": PERSON, "tenant": str(TENANT), "role": None, "client": "chat-agent"}


async def test_lets_a_service_act_for_a_machine_of_a_tenant(http, issuer):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:*")
    headers = bearer(token, Acme_On_Behalf_Of=f"{TENANT}/service:robot")
    assert (await http.get("/internal/v1/act", headers=headers)).json()["subject"] == "service:robot"


async def test_lets_no_person_act_for_another(http, issuer):
    for audience in ("acme-api", "conversation"):
        headers = {**bearer(issuer.token(role="owner", aud=audience)), **FOR_PERSON}
        problem(await http.get("/internal/v1/act", headers=headers), 403, "forbidden")


@pytest.mark.parametrize("client_id", ["sa.nightly-export.1f", "ak.1f"])
@pytest.mark.parametrize("of_a_tenant", [True, False])
async def test_lets_no_machine_of_a_tenant_act_for_its_people(http, issuer, client_id, of_a_tenant):
    whose = {"tenant_id": str(TENANT), "role": "owner"} if of_a_tenant else {}
    token = issuer.service_token(client_id, audience="conversation", scope="conversations:write", **whose)
    problem(await http.get("/internal/v1/act", headers={**bearer(token), **FOR_PERSON}), 403, "forbidden")


async def test_lets_no_service_act_with_a_token_for_elsewhere(http, issuer):
    token = issuer.service_token("chat-agent", audience="acme-api", scope="conversations:write")
    problem(await http.get("/internal/v1/act", headers={**bearer(token), **FOR_PERSON}), 403, "forbidden")
    token = issuer.service_token("chat-agent", audience="auth", scope="conversations:write")
    problem(await http.get("/internal/v1/act", headers={**bearer(token), **FOR_PERSON}), 401, "invalid_token")


@pytest.mark.parametrize("scope", ["conversations:read", "tools:*", "conversations", "*"])
async def test_lets_no_service_act_beyond_its_scope(http, issuer, scope):
    token = issuer.service_token("chat-agent", audience="conversation", scope=scope)
    answer = await http.get("/internal/v1/act", headers={**bearer(token), **FOR_PERSON})
    problem(answer, 403, "insufficient_scope")


async def test_lets_no_service_act_without_any_scope(http, issuer):
    claims = {"sub": "service:chat-agent", "client_id": "chat-agent", "aud": "conversation"}
    answer = await http.get("/internal/v1/act", headers={**bearer(issuer.sign(claims)), **FOR_PERSON})
    problem(answer, 403, "insufficient_scope")


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        str(TENANT),
        f"/{PERSON}",
        f"{TENANT}/",
        f"{TENANT}/{PERSON}/x",
        f"{TENANT}/{PERSON},{TENANT}/{PERSON}",
        f"{TENANT}/user:alice",
        f"{TENANT}/alice@example.com",
        f"{TENANT.hex}/{PERSON}",
        f"*/{PERSON}",
        f"{TENANT}/service:a b",
    ],
)
async def test_refuses_a_service_that_does_not_say_for_whom(http, issuer, value):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:write")
    headers = bearer(token) if value is None else bearer(token, Acme_On_Behalf_Of=value)
    problem(await http.get("/internal/v1/act", headers=headers), 400, "invalid_on_behalf_of")


async def test_refuses_a_service_that_names_two_persons(http, issuer):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:write")
    headers = [*bearer(token).items(), *FOR_PERSON.items(), *FOR_PERSON.items()]
    problem(await http.get("/internal/v1/act", headers=headers), 400, "header_repeated")


async def test_keeps_a_machine_of_a_tenant_in_its_tenant(http, issuer):
    def token(tenant: object) -> str:
        return issuer.service_token(
            "robot", audience="conversation", scope="conversations:write", tenant_id=str(tenant), role="owner"
        )

    own = await http.get("/internal/v1/act", headers={**bearer(token(TENANT)), **FOR_PERSON})
    assert own.json()["role"] is None
    other = await http.get("/internal/v1/act", headers={**bearer(token(uuid4())), **FOR_PERSON})
    problem(other, 403, "tenant_mismatch")


async def test_holds_a_service_to_the_tenant_it_names_and_lets_it_claim_no_role(http, issuer):
    token = issuer.service_token("chat-agent", audience="conversation", scope="conversations:write")
    headers = {**bearer(token), **FOR_PERSON}
    other = await http.get("/internal/v1/act", headers={**headers, "X-Tenant-Id": str(uuid4())})
    problem(other, 403, "tenant_mismatch")
    role = await http.get("/internal/v1/act", headers={**headers, "X-Tenant-Role": "viewer"})
    problem(role, 403, "role_escalation")


async def test_ignores_on_whose_behalf_a_person_claims_to_call(http, issuer):
    other = {"Acme-On-Behalf-Of": f"{uuid4()}/user:{uuid4()}"}
    headers = {**bearer(issuer.token(tenant_id=TENANT, subject=PERSON)), **other}
    assert (await http.get("/me", headers=headers)).json()["subject"] == PERSON


async def test_shows_in_the_document_which_routes_take_a_token(app):
    document = app.openapi()
    assert document["components"]["securitySchemes"]["access_token"]["scheme"] == "bearer"
    protected = {path for path, item in document["paths"].items() if "security" in item["get"]}
    assert protected == {"/me", "/signed-in", "/read", "/write", "/admin", "/internal/v1/act", "/context"}


def test_refuses_to_start_with_a_route_that_names_no_policy():
    app = FastAPI()
    nested, outer = APIRouter(), APIRouter()

    @nested.get("/forgotten")
    async def forget() -> None: ...

    @nested.post("/also", dependencies=[require("tools:read")])
    async def remember() -> None: ...

    outer.include_router(nested, prefix="/deep")
    app.include_router(outer, prefix="/api")
    with pytest.raises(PolicyMissing, match=r"\['GET'\] /api/deep/forgotten$"):
        assert_policies(app)


def test_accepts_a_policy_that_a_router_declares_for_its_routes():
    app, inner = FastAPI(), APIRouter()

    @inner.get("/status")
    async def tell() -> None: ...

    app.include_router(inner, dependencies=[public])
    assert_policies(app)


def test_looks_into_mounted_apps_and_at_sockets():
    app, inside = FastAPI(), FastAPI(openapi_url=None)

    @inside.get("/hidden")
    async def hide() -> None: ...

    @app.websocket("/socket")
    async def listen() -> None: ...

    app.mount("/inside", inside)
    with pytest.raises(PolicyMissing, match=r"/socket.*/hidden"):
        assert_policies(app)


def test_knows_no_permission_by_a_misspelt_name():
    with pytest.raises(ValueError, match="conversation:read"):
        require("conversation:read")
