import pytest
from auth.main import create_app
from servicekit.auth.tokens import InvalidToken, TokenVerifier
from servicekit.jwks.cache import JwksCache
from testkit.live_server import serving


async def test_gives_a_service_a_token_for_the_one_it_calls(auth):
    answer = await auth.machine(scope="conversations:read conversations:write")
    issued = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (issued["token_type"], issued["expires_in"]) == ("bearer", 600)
    assert issued["scope"] == "conversations:read conversations:write"
    claims = auth.claims(issued)
    assert {claims.pop(name) is not None for name in ("iat", "nbf", "exp", "jti")} == {True}
    assert claims == {
        "iss": auth.settings.auth_issuer,
        "aud": "conversation",
        "sub": "service:chat-agent",
        "client_id": "chat-agent",
        "scope": "conversations:read conversations:write",
    }


async def test_is_believed_by_the_service_that_is_called_and_by_no_other(auth):
    token = (await auth.machine()).json()["access_token"]
    with serving(create_app(auth.settings)) as url:
        keys = JwksCache(f"{url}/.well-known/jwks.json")
        issuer = auth.settings.auth_issuer
        principal = await TokenVerifier(keys, issuer=issuer, audiences={"conversation"}).verify(token)
        assert (principal.subject, principal.tenant_id) == ("service:chat-agent", None)
        assert principal.scopes == {"conversations:read"}
        for other in ("acme-api", "billing-webhook"):
            with pytest.raises(InvalidToken):
                await TokenVerifier(keys, issuer=issuer, audiences={other}).verify(token)
        await keys.aclose()


async def test_gives_all_that_is_granted_where_no_scope_is_named(auth):
    assert (await auth.machine(scope="")).json()["scope"] == "conversations:read conversations:write"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "unknown"}, 401, "invalid_client"),
        ({"client_id": "conversation", "client_secret": "None"}, 401, "invalid_client"),
        ({"client_secret": ""}, 422, "invalid_request"),
        ({"client_id": "conversation"}, 401, "invalid_client"),
        ({"audience": "acme-api"}, 400, "invalid_target"),
        ({"audience": "notification"}, 400, "invalid_target"),
        ({"scope": "conversations:read conversations:delete"}, 400, "invalid_scope"),
        ({"scope": "*"}, 400, "invalid_scope"),
        ({"scope": "conversations:*"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
    ],
)
async def test_gives_nothing_that_is_not_in_the_table(auth, changes, status, code):
    answer = await auth.machine(**changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_does_not_tell_an_unknown_client_from_a_wrong_secret(auth):
    answers = [await auth.machine(client_id="unknown"), await auth.machine(client_secret="wrong")]
    problems = [{**answer.json(), "request_id": ""} for answer in answers]
    assert problems[0] == problems[1]


async def test_wants_a_form(auth):
    answer = await auth.internal.post("/internal/v1/oauth/token", json={"grant_type": "client_credentials"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "what-chat-agent" not in (await auth.machine(audience="")).text


async def test_is_not_there_for_the_gateway(auth):
    answer = await auth.public.post("/internal/v1/oauth/token", data={})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
