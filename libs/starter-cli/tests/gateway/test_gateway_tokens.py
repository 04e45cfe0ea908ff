"""Who is let in, and who is turned away."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sandbox.embedded import free_port
from servicekit.auth.tokens import ALGORITHM, InvalidToken, TokenVerifier, VerificationKey

from .conftest import ISSUER, Services

ROOT = Path(__file__).resolve().parents[4]
METHODS = {"get", "post", "put", "patch", "delete"}


def of_auth(*, open_to_all: bool) -> list[str]:
    """The paths of auth that need a token whatever the method, or those that one method at least does not."""
    document = json.loads((ROOT / "services/auth/contract/openapi.json").read_text())
    free = {
        path: any(not request.get("security") for method, request in item.items() if method in METHODS)
        for path, item in document["paths"].items()
    }
    return sorted(re.sub(r"{\w+}", "1", path) for path, is_free in free.items() if is_free is open_to_all)


WITHOUT_TOKEN = [
    *of_auth(open_to_all=True),
    "/webhooks/stripe",
    "/webhooks/resend",
    "/openapi/auth.json",
    "/docs/auth",
]
WITH_TOKEN = [
    *of_auth(open_to_all=False),
    "/api/v1/auth/token/more",
    "/api/v1/auth/token;x",
    "/api/v1/tenants",
    "/api/v1/chat",
    "/api/v1/chat/stream",
    "/api/v1/runs/1/events",
    "/v1/models",
    "/api/v1/conversations",
    "/api/v1/billing/plans",
    "/api/v1/notifications",
]


SCHEMES = ["Bearer", "bearer", "BEARER", "bEaReR"]
# What services ask of a token beyond what Envoy does.
CLAIMS_OF_SERVICES = {"sub": "service:one", "client_id": "one", "jti": "once"}


@dataclass
class Known:
    """The key that the stand-in for auth publishes."""

    services: Services

    async def get(self, kid):
        return VerificationKey(kid, self.services.key.public_key())


async def believes(verifier, token):
    try:
        return bool(await verifier.verify(token))
    except InvalidToken:
        return False


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", WITHOUT_TOKEN)
def test_lets_anyone_in_where_tokens_are_made_or_not_needed(stranger, path):
    assert stranger.get(path).status_code == 200


@pytest.mark.parametrize("path", WITH_TOKEN)
def test_asks_for_a_token_everywhere_else(stranger, path, assert_problem):
    refusal = stranger.get(path)

    assert_problem(refusal, 401, "invalid_token")
    assert refusal.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_passes_a_good_token_on_whatever_the_case_of_its_scheme(stranger, services, scheme):
    token = services.token()

    seen = stranger.get("/api/v1/auth/me", headers={"Authorization": f"{scheme} {token}"}).json()

    assert seen["headers"]["authorization"] == f"Bearer {token}"


@pytest.mark.parametrize("header", ["Basic dTpw", "basic dTpw", "Negotiate x", "bearer", "Bearerx y"])
def test_leaves_other_schemes_as_they_are(stranger, header):
    seen = stranger.get("/.well-known/openid-configuration", headers={"Authorization": header}).json()

    assert seen["headers"]["authorization"] == header


def test_takes_a_token_for_several_audiences(stranger, services):
    token = services.token(aud=["conversation", "acme-api"])

    assert stranger.get("/api/v1/conversations", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"nbf": 9_999_999_999},
        {"aud": "another-api"},
        {"aud": None},
        {"iss": "https://someone.example"},
        {"iss": None},
    ],
    ids=str,
)
def test_turns_away_tokens_that_are_not_for_here_or_now(stranger, services, claims, assert_problem):
    refusal = stranger.get("/api/v1/auth/me", headers=bearer(services.token(**claims)))

    assert_problem(refusal, 401, "invalid_token")


def test_turns_away_a_signature_by_another_key(stranger, services, assert_problem):
    forged = services.token(key=Ed25519PrivateKey.generate())

    assert_problem(stranger.get("/api/v1/auth/me", headers=bearer(forged)), 401, "invalid_token")


def test_turns_away_an_unknown_key(stranger, services, assert_problem):
    unknown = services.token(key=Ed25519PrivateKey.generate(), kid="two")

    assert_problem(stranger.get("/api/v1/auth/me", headers=bearer(unknown)), 401, "invalid_token")


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519", "eddsa", "Ed448", "none", ""])
async def test_takes_the_name_of_the_algorithm_that_services_take(stranger, services, alg):
    """The services' verifier and Envoy agree, whichever name a token gives the algorithm that signed it."""
    token = services.token(alg=alg, **CLAIMS_OF_SERVICES)
    verifier = TokenVerifier(Known(services), issuer=ISSUER, audiences={"acme-api"})

    by_envoy = stranger.get("/api/v1/auth/me", headers=bearer(token)).status_code == 200

    assert by_envoy == await believes(verifier, token) == (alg == ALGORITHM)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_turns_away_other_algorithms(stranger, services, algorithm, assert_problem):
    claims = jwt.decode(services.token(), options={"verify_signature": False})
    secret = None if algorithm == "none" else "k" * 32
    token = jwt.encode(claims, secret, algorithm=algorithm, headers={"kid": "one"})

    assert_problem(stranger.get("/api/v1/auth/me", headers=bearer(token)), 401, "invalid_token")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer x", "Bearer a.b.c", "Basic dTpw", "Bearer acme_123", "Bearer ."]
)
def test_turns_away_what_is_no_token(stranger, header, assert_problem):
    refusal = stranger.get("/api/v1/auth/me", headers={"Authorization": header})

    assert_problem(refusal, 401, "invalid_token")


API_KEY = f"acme_ak_{'0a' * 16}_{'1b' * 36}"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "path", ["/api/v1/conversations", "/v1/models", "/api/v1/auth/me", "/api/v1/billing/plans"]
)
def test_passes_an_api_key_on_as_it_is_for_the_service_to_look_up(stranger, scheme, path):
    seen = stranger.get(path, headers={"Authorization": f"{scheme} {API_KEY}"}).json()

    assert seen["headers"]["authorization"] == f"Bearer {API_KEY}"
    assert seen["path"] == path


@pytest.mark.parametrize(
    "path", ["/internal/v1/api-keys/introspect", "/internal", "/metrics", "/readyz", "/nowhere"]
)
def test_leads_an_api_key_nowhere_that_a_token_would_not_go(stranger, path, assert_problem):
    assert_problem(stranger.post(path, headers=bearer(API_KEY)), 404, "not_found")


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {API_KEY}x",
        f"Bearer  {API_KEY}",
        f"bearer {API_KEY[:60]}…",
        "Bearer acme_ak_",
        "Bearer acme_ak__",
    ],
)
def test_recognizes_a_mistyped_api_key(stranger, header, assert_problem):
    refusal = stranger.get("/api/v1/conversations", headers={"Authorization": header.encode()})

    assert_problem(refusal, 401, "invalid_api_key")


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer x {API_KEY}",
        f"Bearer {API_KEY.upper()}",
        f"Basic {API_KEY}",
        API_KEY,
    ],
)
def test_takes_for_an_api_key_only_what_looks_like_one(stranger, header, assert_problem):
    refusal = stranger.get("/api/v1/conversations", headers={"Authorization": header})

    assert_problem(refusal, 401, "invalid_token")


def test_is_not_misled_by_a_second_header(stranger, services):
    headers = [("Authorization", f"Bearer {API_KEY}"), ("Authorization", f"Bearer {services.token(exp=1)}")]

    assert stranger.get("/api/v1/conversations", headers=headers).status_code == 401


def test_reads_no_token_from_the_query(stranger, services, assert_problem):
    refusal = stranger.get("/api/v1/auth/me", params={"access_token": services.token()})

    assert_problem(refusal, 401, "invalid_token")


def test_blames_nobody_while_the_keys_cannot_be_had_and_recovers(
    start, services, assert_problem, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(services, "know_keys", False)
        with start() as gateway:
            gateway.client.headers.update(bearer(services.token()))
            refusal = gateway.client.get("/api/v1/tools")
            assert_problem(refusal, 503, "upstream_unavailable")
            assert refusal.headers["retry-after"] == "2"
            assert_problem(gateway.client.get("/internal"), 404, "not_found")

            patch.undo()
            gateway.until_it_trusts()
            assert gateway.client.get("/api/v1/tools").status_code == 200


def test_forgets_a_burnt_key_within_seconds_and_no_key_while_auth_is_away(start, serve, services):
    port = free_port()

    def takes(token: str) -> bool:
        return gateway.client.get("/api/v1/tools", headers=bearer(token)).status_code == 200

    token = services.token()
    with start(AUTH_PORT=port) as gateway:
        with serve(services.app("auth"), port=port):
            gateway.until(lambda: takes(token))
        # For longer than Envoy keeps keys it has them from the others.
        back_at = time.monotonic() + 12
        while time.monotonic() < back_at:
            assert takes(token)
            time.sleep(0.05)
        other = Services(ports=services.ports)
        with serve(other.app("auth"), port=port):
            gateway.until(lambda: takes(other.token()))
            # Although it was let in a moment ago.
            assert not takes(token)
