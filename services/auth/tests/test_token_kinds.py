"""Every kind of token, brought to every place that takes another kind."""

import pytest
from auth.service_accounts.exchange import ASSERTION_TYPE


@pytest.fixture
async def tokens(auth):
    await auth.register("bob@example.com")
    mail = (await auth.mail_tokens())[-1]
    bundle = await auth.somebody()
    owner = {"Authorization": f"Bearer {bundle['access_token']}"}
    wanted = {"name": "Key", "scopes": ["tools:read"]}
    key = (await auth.public.post("/api/v1/auth/api-keys", json=wanted, headers=owner)).json()
    ours = await auth.app.state.parts.access_tokens.for_service("chat-agent", "auth", ["tools:read"])
    return {
        "access": bundle["access_token"],
        "refresh": bundle["refresh_token"],
        "mail": mail,
        "machine": (await auth.machine()).json()["access_token"],
        "machine for auth": ours.token,
        "api key": key["key"],
        "service account": "acme_sa_" + "0" * 64,
    }


PLACES = [("GET", "me"), ("POST", "logout/all")]


@pytest.mark.parametrize(("method", "path"), PLACES)
async def test_only_an_access_token_says_who_one_is(auth, tokens, method, path):
    for kind in ("refresh", "mail", "machine", "service account"):
        headers = {"Authorization": f"Bearer {tokens[kind]}"}
        answer = await auth.public.request(method, f"/api/v1/auth/{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), kind
    for kind in ("machine for auth", "api key"):
        headers = {"Authorization": f"Bearer {tokens[kind]}"}
        answer = await auth.public.request(method, f"/api/v1/auth/{path}", headers=headers)
        assert answer.status_code == 403, kind


async def test_only_a_refresh_token_goes_on_with_a_session(auth, tokens):
    for kind in ("access", "mail", "machine", "machine for auth", "api key", "service account"):
        answer = await auth.post("refresh", refresh_token=tokens[kind])
        # An access token is longer than any refresh token.
        assert answer.json()["code"] in {"invalid_refresh_token", "invalid_request"}, kind
        await auth.post("logout", refresh_token=tokens[kind])
    assert (await auth.me(tokens["access"])).status_code == 200
    assert (await auth.post("refresh", refresh_token=tokens["refresh"])).status_code == 200


async def test_only_a_mails_token_confirms(auth, tokens):
    for kind in ("access", "refresh", "machine", "machine for auth", "api key", "service account"):
        answer = await auth.post("email/verify", token=tokens[kind])
        assert answer.json()["code"] in {"email_token_invalid", "invalid_request"}, kind
    assert (await auth.post("email/verify", token=tokens["mail"])).status_code == 200


async def test_only_a_credential_gets_a_machine_its_token(auth, tokens):
    for kind, value in tokens.items():
        for form in ({"client_secret": value[:256]}, {"client_assertion": value}):
            more = {"client_id": "sa.x", "client_assertion_type": ASSERTION_TYPE, **form}
            answer = await auth.public.post(
                "/api/v1/auth/oauth/token", data={"grant_type": "client_credentials", **more}
            )
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client"), kind


async def test_takes_a_token_from_no_other_place(auth, tokens):
    for elsewhere in (
        {"params": {"access_token": tokens["access"]}},
        {"headers": {"Cookie": f"access_token={tokens['access']}"}},
    ):
        answer = await auth.public.get("/api/v1/auth/me", **elsewhere)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")
