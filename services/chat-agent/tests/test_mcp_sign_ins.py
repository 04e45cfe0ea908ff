"""People sign in for an MCP server: by OAuth with PKCE, in the middle of a run, and once for all replicas."""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from chat_agent.main import create_app
from chat_agent.mcp_servers import oauth_http, refreshes
from chat_agent.settings import Settings
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from testkit.databases import query
from testkit.eventually import until
from testkit.live_server import serving
from testkit.proxy import Proxy

from .client_helpers import RUNS, error_of, in_parallel, payloads_of, read_events, read_run, start_run
from .lost_commits import LOSSES, Commits
from .mcp_server import ECHO, AuthorizationServer, StatelessServer
from .test_mcp_servers import SERVERS, agent_with, confirm, put, read_server, refresh

Person = Callable[..., httpx.Client]
Json = dict[str, Any]
CALL = "amount=5 [sandbox: call=shop__pay]"
SIGN_IN = f"{SERVERS}/shop/sign-in"


@pytest.fixture(scope="module")
def accounts() -> Iterator[AuthorizationServer]:
    server = AuthorizationServer()
    with serving(server.app) as url:
        server.issuer = url
        yield server


@pytest.fixture(scope="module")
def shop(accounts: AuthorizationServer) -> StatelessServer:
    server = StatelessServer()
    server.accounts = accounts
    return server


@pytest.fixture(scope="module")
def shop_url(shop: StatelessServer) -> Iterator[str]:
    with serving(shop.app) as url:
        yield f"{url}/mcp"


@pytest.fixture(scope="module")
def settings(settings: Settings, shop_url: str, accounts: AuthorizationServer) -> Settings:
    hosts = frozenset(urlsplit(url).netloc for url in (shop_url, accounts.issuer))
    return settings.model_copy(update={"tool_private_hosts": hosts | {"app.example:80"}})


@pytest.fixture(autouse=True)
def _good_again(shop: StatelessServer, accounts: AuthorizationServer) -> Iterator[None]:
    yield
    shop.reset()
    accounts.reset()


@pytest.fixture
def admin(person: Person, tenant: UUID, shop_url: str, accounts: AuthorizationServer) -> httpx.Client:
    """Return an admin who has registered the server, signed in, and published an agent."""
    client = person(tenant, f"user:{uuid4()}", role="admin")
    auth = {"type": "oauth", "redirect_uri": "https://app.example/mcp"}
    detail = put(client, shop_url, auth=auth).json()
    assert (detail["state"], detail["tools"]) == ("unconfirmed", [])
    assert error_of(confirm(client)) == (409, "mcp_sign_in_required")
    sign_in(client, accounts)
    assert confirm(client).json()["state"] == "confirmed"
    agent_with(client)
    return client


@pytest.fixture
def member(person: Person, tenant: UUID, admin: httpx.Client) -> httpx.Client:
    return person(tenant, f"user:{uuid4()}")


def begin(client: httpx.Client) -> str:
    response = client.post(SIGN_IN)
    assert response.status_code == 200, response.text
    url: str = response.json()["authorization_url"]
    return url


def complete(client: httpx.Client, answer: Json) -> httpx.Response:
    return client.post(f"{SIGN_IN}/complete", json=answer)


def sign_in(client: httpx.Client, accounts: AuthorizationServer) -> None:
    response = complete(client, accounts.grant(begin(client)))
    assert (response.status_code, response.json()["state"]) == (200, "connected")


def state_of(client: httpx.Client) -> str:
    state: str = client.get(SIGN_IN).json()["state"]
    return state


def waiting_run(client: httpx.Client, at: str = "") -> tuple[Json, int, Json]:
    """Begin a run that waits for a sign-in: return it, its last event, and the request."""
    run = start_run(client, CALL, at, agent_type="support")
    received = read_events(client, run, at=at)
    assert received[-1].type == "run.waiting", received[-1]
    (required,) = payloads_of(received, "approval.required")
    return run, received[-1].id, required


def output_after(client: httpx.Client, run: Json, after: int = 0, at: str = "") -> Json:
    received = read_events(client, run, after, at)
    assert received[-1].type == "run.completed", received[-1]
    (output,) = payloads_of(received, "tool.output")
    return output


def test_a_run_waits_for_the_sign_in_and_goes_on(
    member: httpx.Client, shop: StatelessServer, accounts: AuthorizationServer
) -> None:
    run, last, required = waiting_run(member)
    assert required["sign_in"] == {"server": "shop", "url": SIGN_IN, "needs_approval": False}
    (approval,) = read_run(member, run)["approvals"]
    assert (approval["status"], approval["sign_in"]["url"]) == ("pending", SIGN_IN)
    assert state_of(member) == "needs_login"
    assert shop.sent("tools/call") == []
    sign_in(member, accounts)
    output = output_after(member, run, last)
    assert output["output"] == 'pay: {"amount": 5}'
    ((_, headers),) = shop.sent("tools/call")
    assert headers["authorization"].removeprefix("Bearer ") in accounts.access
    assert state_of(member) == "connected"
    # From now on nobody waits.
    assert output_after(member, start_run(member, CALL, agent_type="support"))["output"]


def test_who_does_not_sign_in_rejects_the_call(member: httpx.Client, shop: StatelessServer) -> None:
    run, last, required = waiting_run(member)
    path = f"/api/v1/runs/{run['id']}/approvals/{required['approval_id']}"
    member.post(path, json={"approve": False}).raise_for_status()
    assert "did not allow" in output_after(member, run, last)["output"]
    assert shop.sent("tools/call") == []


def test_a_call_that_needs_both_waits_for_both(
    admin: httpx.Client, member: httpx.Client, shop_url: str, accounts: AuthorizationServer
) -> None:
    config = read_server(admin)["config"]
    admin.put(f"{SERVERS}/shop", json={**config, "approval": "always"}).raise_for_status()
    run, last, required = waiting_run(member)
    assert required["sign_in"]["needs_approval"] is True
    sign_in(member, accounts)
    assert read_run(member, run)["status"] == "waiting"
    path = f"/api/v1/runs/{run['id']}/approvals/{required['approval_id']}"
    member.post(path, json={"approve": True}).raise_for_status()
    assert output_after(member, run, last)["output"] == 'pay: {"amount": 5}'


def test_the_address_of_a_sign_in_is_bound(
    member: httpx.Client, accounts: AuthorizationServer, shop_url: str
) -> None:
    parameters = {name: value for name, (value,) in parse_qs(urlsplit(begin(member)).query).items()}
    assert (parameters["resource"], parameters["redirect_uri"]) == (shop_url, "https://app.example/mcp")
    assert len(parameters["code_challenge"]) == 43
    # A client is registered once for all people.
    assert len(accounts.registered) == 1
    assert accounts.registered[0]["redirect_uris"] == ["https://app.example/mcp"]


def test_a_sign_in_is_completed_once_by_whom_has_begun_it(
    person: Person, tenant: UUID, member: httpx.Client, accounts: AuthorizationServer
) -> None:
    answer = accounts.grant(begin(member))
    other = person(tenant)
    begin(other)
    assert error_of(complete(other, answer)) == (409, "mcp_sign_in_expired")
    assert error_of(complete(member, {**answer, "state": "x" * 43})) == (409, "mcp_sign_in_expired")
    assert complete(member, answer).status_code == 200
    assert error_of(complete(member, answer)) == (409, "mcp_sign_in_expired")
    assert (state_of(member), state_of(other)) == ("connected", "needs_login")


@pytest.mark.parametrize("iss", [None, "https://evil.example"])
def test_a_response_of_another_issuer_is_refused(
    member: httpx.Client, accounts: AuthorizationServer, iss: str | None
) -> None:
    answer = accounts.grant(begin(member))
    assert error_of(complete(member, {**answer, "iss": iss})) == (422, "mcp_sign_in_failed")
    assert state_of(member) == "needs_login"


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"code_challenge_methods_supported": ["plain"]},
        {"token_endpoint": "http://10.0.0.1/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"registration_endpoint": None},
        {"token_endpoint": None},
    ],
)
def test_an_authorization_server_that_cannot_be_trusted_is_not_used(
    person: Person, tenant: UUID, shop_url: str, accounts: AuthorizationServer, changes: Json
) -> None:
    client = person(tenant, role="admin")
    accounts.changes = changes
    put(
        client, shop_url, auth={"type": "oauth", "redirect_uri": "https://app.example/mcp"}
    ).raise_for_status()
    assert error_of(client.post(SIGN_IN)) == (422, "mcp_sign_in_failed")


def test_two_replicas_redeem_one_grant(
    member: httpx.Client, accounts: AuthorizationServer, shop: StatelessServer, other_url: str
) -> None:
    accounts.lifetime = 0
    sign_in(member, accounts)
    accounts.lifetime = 3600
    accounts.refreshed = 0
    places = ["", other_url] * 2
    runs = [start_run(member, CALL, at, agent_type="support") for at in places]
    outputs = in_parallel(
        [
            lambda run=run, at=at: output_after(member, run, 0, at)
            for run, at in zip(runs, places, strict=True)
        ]
    )
    assert {output["output"] for output in outputs} == {'pay: {"amount": 5}'}
    assert accounts.refreshed == 1
    assert state_of(member) == "connected"


@pytest.fixture
def slow_accounts(
    accounts: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AuthorizationServer]:
    """Return the authorization server, which does not answer refreshes until the test lets it."""
    monkeypatch.setattr(oauth_http, "SECONDS", 60.0)
    monkeypatch.setattr(refreshes, "LEASE", timedelta(minutes=2))
    accounts.is_answering = False
    yield accounts
    accounts.is_answering = True


def expired_sign_in(client: httpx.Client, accounts: AuthorizationServer) -> httpx.Client:
    """Sign a person in whose token has to be refreshed before it is used."""
    accounts.lifetime = 0
    accounts.is_answering, was_answering = True, accounts.is_answering
    sign_in(client, accounts)
    accounts.is_answering, accounts.lifetime = was_answering, 3600
    return client


def test_refreshes_that_are_not_answered_hold_no_connections(
    settings: Settings,
    person: Person,
    tenant: UUID,
    admin: httpx.Client,
    slow_accounts: AuthorizationServer,
) -> None:
    people = [expired_sign_in(person(tenant, f"user:{uuid4()}"), slow_accounts) for _ in range(4)]
    # Of two connections.
    with serving(create_app(settings.model_copy(update={"database_pool_size": 1}))) as at:
        runs = [start_run(one, CALL, at, agent_type="support") for one in people]
        until(lambda: slow_accounts.arrived == len(people), describe=lambda: slow_accounts.arrived)
        for one, run in zip(people, runs, strict=True):
            assert one.get(f"{at}{RUNS}/{run['id']}").json()["status"] == "running"
            assert one.get(f"{at}{SIGN_IN}").json()["state"] == "connected"
        slow_accounts.is_answering = True
        outputs = [output_after(one, run, 0, at) for one, run in zip(people, runs, strict=True)]
    assert {output["output"] for output in outputs} == {'pay: {"amount": 5}'}
    assert slow_accounts.refreshed == len(people)


def test_a_refresh_that_fails_fails_for_whoever_waits(
    member: httpx.Client, slow_accounts: AuthorizationServer, other_url: str
) -> None:
    expired_sign_in(member, slow_accounts)
    places = ["", other_url] * 2
    runs = [start_run(member, CALL, at, agent_type="support") for at in places]
    until(lambda: slow_accounts.arrived)
    slow_accounts.refusal, slow_accounts.is_answering = (500, {}), True
    outputs = [output_after(member, run, 0, at) for run, at in zip(runs, places, strict=True)]
    assert all("authorization server" in output["output"] for output in outputs)
    assert state_of(member) == "connected"


@pytest.mark.parametrize("loss", LOSSES)
def test_a_grant_outlives_postgres_that_fails_while_its_token_is_replaced(
    member: httpx.Client, accounts: AuthorizationServer, settings: Settings, postgres: Any, loss: str
) -> None:
    """The token that was redeemed is worth nothing any more: to redeem it again ends the sign-in."""
    expired_sign_in(member, accounts)
    address = make_url(settings.database_url.get_secret_value())
    with Proxy(postgres.port) as way:
        own = SecretStr(address.set(port=way.port).render_as_string(hide_password=False))
        commits = Commits(settings.database_url.get_secret_value(), way)
        grant = ("insert or update on tenant_secrets", "new.kind = 'mcp_grant'")
        with (
            serving(create_app(settings.model_copy(update={"database_url": own}))) as at,
            commits.losing(*grant, loss) as lose,
        ):
            run = start_run(member, CALL, at, agent_type="support")
            lose()
            output = output_after(member, run, 0, at)
    assert (output["output"], accounts.refreshed) == ('pay: {"amount": 5}', 1)
    assert state_of(member) == "connected"
    assert output_after(member, start_run(member, CALL, agent_type="support"))["output"] == output["output"]


def test_the_lease_of_a_killed_replica_ends(
    member: httpx.Client, accounts: AuthorizationServer, settings: Settings
) -> None:
    expired_sign_in(member, accounts)
    database = settings.database_url.get_secret_value()
    claim = """update mcp_sign_ins set refresh_lease_expires_at = now() + interval '2 seconds'
        where id = (select id from mcp_sign_ins order by created_at desc limit 1)
        returning id, refresh_lease_expires_at"""
    ((id, expires_at),) = query(database, claim)
    output = output_after(member, start_run(member, CALL, agent_type="support"))
    assert (output["output"], accounts.refreshed) == ('pay: {"amount": 5}', 1)
    ((refreshed_at,),) = query(database, "select updated_at from mcp_sign_ins where id = $1", id)
    assert refreshed_at > expires_at


def test_a_token_that_arrives_after_the_person_has_signed_out_is_revoked(
    member: httpx.Client, slow_accounts: AuthorizationServer
) -> None:
    expired_sign_in(member, slow_accounts)
    start_run(member, CALL, agent_type="support")
    until(lambda: slow_accounts.arrived)
    member.delete(SIGN_IN).raise_for_status()
    slow_accounts.is_answering = True
    until(lambda: len(slow_accounts.revoked) == 2, describe=lambda: slow_accounts.revoked)
    assert slow_accounts.revoked[1] in slow_accounts.newest.values()
    assert state_of(member) == "revoked"


@pytest.mark.parametrize("check_after_seconds", [86_400, 0], ids=["the call", "the list of tools"])
def test_a_token_that_the_server_refuses_is_refreshed_once(
    admin: httpx.Client, member: httpx.Client, accounts: AuthorizationServer, check_after_seconds: int
) -> None:
    config = {**read_server(admin)["config"], "check_after_seconds": check_after_seconds}
    admin.put(f"{SERVERS}/shop", json=config).raise_for_status()
    sign_in(member, accounts)
    accounts.access.clear()
    output = output_after(member, start_run(member, CALL, agent_type="support"))
    assert output["output"] == 'pay: {"amount": 5}'
    assert accounts.refreshed == 1


def test_a_grant_that_is_gone_needs_a_sign_in_again(
    member: httpx.Client, accounts: AuthorizationServer
) -> None:
    accounts.lifetime = 0
    sign_in(member, accounts)
    accounts.newest.clear()
    accounts.lifetime = 3600
    run, last, _ = waiting_run(member)
    assert state_of(member) == "needs_login"
    sign_in(member, accounts)
    assert output_after(member, run, last)["output"] == 'pay: {"amount": 5}'


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_request"}),
        (408, {}),
        (429, {"error": "slow_down"}),
        (500, {}),
        (503, {"error": "temporarily_unavailable"}),
        (200, {"token_type": "Bearer"}),
    ],
    ids=str,
)
def test_a_grant_outlives_a_refresh_that_fails(
    member: httpx.Client, accounts: AuthorizationServer, status: int, body: Json
) -> None:
    accounts.lifetime = 0
    sign_in(member, accounts)
    accounts.lifetime = 3600
    accounts.refusal = status, body
    output = output_after(member, start_run(member, CALL, agent_type="support"))
    assert "authorization server" in output["output"]
    assert state_of(member) == "connected"
    accounts.refusal = None
    output = output_after(member, start_run(member, CALL, agent_type="support"))
    assert output["output"] == 'pay: {"amount": 5}'


@pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client"])
def test_a_client_that_is_refused_is_registered_anew(
    member: httpx.Client, accounts: AuthorizationServer, error: str
) -> None:
    accounts.lifetime = 0
    sign_in(member, accounts)
    accounts.lifetime = 3600
    before = len(accounts.registered)
    accounts.refusal = 401, {"error": error}
    run, last, _ = waiting_run(member)
    assert state_of(member) == "needs_login"
    response = complete(member, accounts.grant(begin(member)))
    assert error_of(response) == (422, "mcp_sign_in_failed")
    accounts.refusal = None
    sign_in(member, accounts)
    assert output_after(member, run, last)["output"] == 'pay: {"amount": 5}'
    # By the refresh, and by the sign-in after it.
    assert len(accounts.registered) == before + 2


@pytest.mark.parametrize(
    ("supported", "is_in_header"),
    [
        ([], True),
        (["client_secret_basic", "client_secret_post"], True),
        (["client_secret_post"], False),
        (["private_key_jwt", "client_secret_post", "none"], False),
    ],
    ids=str,
)
def test_a_secret_of_a_client_is_sent_as_the_server_takes_it(
    person: Person,
    tenant: UUID,
    shop_url: str,
    accounts: AuthorizationServer,
    supported: list[str],
    is_in_header: bool,
) -> None:
    accounts.changes = {"token_endpoint_auth_methods_supported": supported}
    client = person(tenant, role="admin")
    client.put("/api/v1/secrets/shop", json={"value": "a b:c%&"}).raise_for_status()
    auth = {
        "type": "oauth",
        "redirect_uri": "https://app.example/mcp",
        "client_id": "ours:1",
        "client_secret": {"secret": "shop"},
    }
    put(client, shop_url, auth=auth).raise_for_status()
    sign_in(client, accounts)
    header, form = accounts.authenticated_by
    if is_in_header:
        assert base64.b64decode((header or "").removeprefix("Basic ")) == b"ours%3A1:a+b%3Ac%25%26"
        # Servers of the SDK look there who the client is.
        assert (form["client_id"], "client_secret" in form) == ("ours:1", False)
    else:
        assert header is None
        assert (form["client_id"], form["client_secret"]) == ("ours:1", "a b:c%&")


@pytest.fixture
def author(person: Person, tenant: UUID, shop_url: str) -> httpx.Client:
    """Return an admin who has registered the server, and not signed in."""
    client = person(tenant, f"user:{uuid4()}", role="admin")
    put(
        client, shop_url, auth={"type": "oauth", "redirect_uri": "https://app.example/mcp"}
    ).raise_for_status()
    return client


def sign_in_parameters(client: httpx.Client) -> Json:
    """Return the parameters with which a person signs in."""
    return {name: value for name, (value,) in parse_qs(urlsplit(begin(client)).query).items()}


def test_a_client_is_registered_for_the_scopes_that_it_asks_for(
    author: httpx.Client, shop: StatelessServer, accounts: AuthorizationServer, shop_url: str
) -> None:
    sign_in(author, accounts)
    assert [one["scope"] for one in accounts.registered] == ["read"]
    # The server wants another, for which there is no client yet.
    accounts.access.clear()
    shop.scope = "list read"
    assert sign_in_parameters(author)["scope"] == "list read"
    sign_in(author, accounts)
    assert [one["scope"] for one in accounts.registered] == ["read", "list read"]
    auth = {"type": "oauth", "redirect_uri": "https://app.example/mcp", "scopes": ["pay"]}
    put(author, shop_url, auth=auth).raise_for_status()
    assert sign_in_parameters(author)["scope"] == "pay"


def test_a_client_is_registered_where_scopes_are_not_known(
    author: httpx.Client, accounts: AuthorizationServer
) -> None:
    accounts.knows_scopes = False
    sign_in(author, accounts)
    assert ["scope" in one for one in accounts.registered] == [False]


def test_a_refresh_token_is_requested_where_that_is_a_scope(
    author: httpx.Client, accounts: AuthorizationServer
) -> None:
    assert "prompt" not in sign_in_parameters(author)
    accounts.changes = {"scopes_supported": ["openid", "offline_access"]}
    parameters = sign_in_parameters(author)
    assert (parameters["scope"], parameters["prompt"]) == ("read offline_access", "consent")


def test_a_token_is_for_what_the_server_calls_itself(
    author: httpx.Client, shop: StatelessServer, accounts: AuthorizationServer, shop_url: str
) -> None:
    shop.resource = shop_url.removesuffix("/mcp")
    accounts.lifetime = 0
    assert sign_in_parameters(author)["resource"] == shop.resource
    sign_in(author, accounts)
    assert accounts.authenticated_by[1]["resource"] == shop.resource
    assert refresh(author).status_code == 200
    _, form = accounts.authenticated_by
    assert (form["grant_type"], form["resource"]) == ("refresh_token", shop.resource)


def test_a_scope_that_is_missing_is_named_and_no_sign_in_is_lost(
    member: httpx.Client, shop: StatelessServer, accounts: AuthorizationServer
) -> None:
    sign_in(member, accounts)
    shop.mode = "forbidden"
    output = output_after(member, start_run(member, CALL, agent_type="support"))
    assert (output["failed"], "'read pay:write'" in output["output"]) == (True, True)
    # Another token would lack it too.
    assert (accounts.refreshed, state_of(member)) == (0, "connected")


def test_a_client_is_authenticated_as_it_was_registered(
    author: httpx.Client, accounts: AuthorizationServer
) -> None:
    accounts.changes = {
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]
    }
    accounts.registration = {"client_secret": "a-secret", "token_endpoint_auth_method": "client_secret_post"}
    sign_in(author, accounts)
    header, form = accounts.authenticated_by
    assert (header, form["client_secret"]) == (None, "a-secret")


def test_a_client_whose_secret_has_expired_is_registered_anew(
    author: httpx.Client, accounts: AuthorizationServer
) -> None:
    accounts.registration = {"client_secret": "a-secret", "client_secret_expires_at": 1}
    first = sign_in_parameters(author)["client_id"]
    accounts.registration = {"client_secret": "a-secret", "client_secret_expires_at": 0}
    second = sign_in_parameters(author)["client_id"]
    assert first != second == sign_in_parameters(author)["client_id"]


def test_an_authorization_server_that_takes_assertions_only_is_not_used(
    author: httpx.Client, accounts: AuthorizationServer
) -> None:
    accounts.changes = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    response = author.post(SIGN_IN)
    assert error_of(response) == (422, "mcp_sign_in_failed")
    assert "client_secret_basic" in response.json()["detail"]


def test_a_revoked_sign_in_is_gone_here_and_there(
    member: httpx.Client, accounts: AuthorizationServer
) -> None:
    sign_in(member, accounts)
    assert member.delete(SIGN_IN).status_code == 204
    assert state_of(member) == "revoked"
    assert len(accounts.revoked) == 1
    waiting_run(member)


def test_tokens_are_encrypted_and_never_returned(
    member: httpx.Client, accounts: AuthorizationServer, shop: StatelessServer, settings: Settings
) -> None:
    sign_in(member, accounts)
    shop.mode = "headers"
    run = start_run(member, CALL, agent_type="support")
    output = output_after(member, run)
    database = settings.database_url.get_secret_value()
    rows = [
        str(dict(row))
        for table in ("mcp_sign_ins", "tenant_secrets", "runs", "tool_calls", "approvals", "outbox")
        for row in query(database, f"select * from {table}")  # noqa: S608  # names of this test
    ]
    for token in (*accounts.access, *accounts.families):
        assert token not in output["output"]
        assert not any(token in row for row in rows)


def test_tools_are_looked_at_before_they_are_confirmed_for_the_first_time(
    person: Person, tenant: UUID, accounts: AuthorizationServer, shop_url: str
) -> None:
    client = person(tenant, f"user:{uuid4()}", role="admin")
    put(
        client, shop_url, auth={"type": "oauth", "redirect_uri": "https://app.example/mcp"}
    ).raise_for_status()
    assert error_of(refresh(client)) == (409, "mcp_sign_in_required")
    sign_in(client, accounts)
    detail = refresh(client).json()
    assert (detail["state"], detail["tools"]) == ("unconfirmed", [])
    assert [(one["tool"], one["change"]) for one in detail["changes"]] == [
        ("echo", "added"),
        ("pay", "added"),
    ]
    confirmed = confirm(client, digest=detail["tools_digest"]).json()
    assert (confirmed["state"], confirmed["changes"]) == ("confirmed", [])


def test_what_was_refreshed_is_confirmed_where_the_server_has_fewer_tools(
    admin: httpx.Client, shop: StatelessServer
) -> None:
    shop.tools = [{**ECHO, "description": "Else."}]
    detail = refresh(admin).json()
    # Others may still be offered what this person is not.
    assert [(one["tool"], one["change"]) for one in detail["changes"]] == [("echo", "changed")]
    confirmed = confirm(admin, digest=detail["tools_digest"])
    assert confirmed.status_code == 200, confirmed.text
    assert [tool["description"] for tool in confirmed.json()["tools"]] == ["Else."]


def test_a_token_does_not_follow_a_server_to_another_address(
    admin: httpx.Client, member: httpx.Client, accounts: AuthorizationServer, shop_url: str
) -> None:
    sign_in(member, accounts)
    config = read_server(admin)["config"]
    response = admin.put(f"{SERVERS}/shop", json={**config, "url": f"{shop_url}/"})
    assert response.json()["state"] == "unconfirmed"
    assert error_of(confirm(admin)) == (409, "mcp_sign_in_required")


def test_nobody_signs_in_for_a_server_without_oauth(
    admin: httpx.Client, person: Person, shop_url: str
) -> None:
    assert error_of(admin.post(f"{SERVERS}/none/sign-in")) == (404, "mcp_server_not_found")
    stranger = person(uuid4())
    assert error_of(stranger.post(SIGN_IN)) == (404, "mcp_server_not_found")


def test_the_token_that_replaces_a_refused_one_is_masked_too(
    member: httpx.Client, shop: StatelessServer, accounts: AuthorizationServer
) -> None:
    sign_in(member, accounts)
    shop.mode = "error with headers"
    accounts.access.clear()
    run = start_run(member, CALL, agent_type="support")
    events = read_events(member, run)
    (output,) = payloads_of(events, "tool.output")
    (token,) = accounts.access
    assert "[masked]" in output["output"]
    assert token[:20] not in str([event.data for event in events])


def test_an_authorization_server_without_an_address_is_a_stated_failure(
    admin: httpx.Client, accounts: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for issuer in ("https://[::1", "https://a]/", "x", ""):
        monkeypatch.setattr(accounts, "issuer", issuer)
        assert error_of(admin.post(SIGN_IN)) == (422, "mcp_sign_in_failed"), issuer


def test_a_response_that_never_ends_is_a_stated_failure(
    admin: httpx.Client, accounts: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth_http, "SECONDS", 1.0)
    accounts.is_dripping = True
    assert error_of(admin.post(SIGN_IN)) == (503, "mcp_server_unavailable")
