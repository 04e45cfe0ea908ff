"""One name for the signature algorithm, wherever auth writes, publishes or reads one.

The gateway and the services' verifier are compared in the gateway's tests (`test_gateway_tokens`).
"""

import json
import time
from uuid import uuid4

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servicekit.auth import jose
from servicekit.auth.tokens import ALGORITHM

ENDPOINT = "http://acme.test/api/v1/auth/oauth/token"
ACCOUNT = {"role": "member", "scopes": ["conversations:read"], "global": True}
# What a client may call it in an assertion, which auth alone reads.
ASSERTIONS = ["EdDSA", "Ed25519"]
NAMES = ["EdDSA", "Ed25519", "eddsa", "Ed448", "none"]


def signed(key, header, claims):
    text = ".".join(jose.encode(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{jose.encode(key.sign(text.encode()))}"


def header_of(token):
    return jose.parse_object(jose.decode(token.split(".")[0]))


@pytest.fixture
async def service(start, operator, tmp_path):
    path = tmp_path / "accounts.yaml"
    path.write_text(yaml.safe_dump({"accounts": {"nightly-export": ACCOUNT}}))
    return await start(**operator.settings, auth_service_accounts_file=path)


async def test_writes_and_publishes_one_name(auth):
    token = (await auth.somebody())["access_token"]
    keys = (await auth.public.get("/.well-known/jwks.json")).json()["keys"]
    metadata = (await auth.public.get("/.well-known/openid-configuration")).json()
    published = {key["alg"] for key in keys}
    assert (header_of(token)["alg"], published) == (ALGORITHM, {ALGORITHM})
    assert metadata["id_token_signing_alg_values_supported"] == [ALGORITHM]
    assert metadata["token_endpoint_auth_signing_alg_values_supported"] == ASSERTIONS


@pytest.mark.parametrize("name", NAMES)
async def test_reads_one_name_in_access_tokens(auth, name):
    bundle = await auth.somebody()
    key = await auth.app.state.services.access_tokens.keys.current()
    header = {**header_of(bundle["access_token"]), "alg": name}
    token = signed(key.private, header, auth.claims(bundle))
    assert (await auth.me(token)).is_success == (name == ALGORITHM)


@pytest.mark.parametrize("name", NAMES)
async def test_reads_both_names_in_client_assertions(service, operator, name):
    key, now = Ed25519PrivateKey.generate(), int(time.time())
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.encode(key.public_key().public_bytes_raw())}
    client = (await service.post("service-accounts/issue", **operator.request(jwk=jwk))).json()["client_id"]
    claims = {"iss": client, "sub": client, "aud": ENDPOINT, "iat": now, "exp": now + 60, "jti": str(uuid4())}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed(key, {"typ": "JWT", "alg": name}, claims),
    }
    answer = await service.public.post("/api/v1/auth/oauth/token", data=form)
    assert answer.is_success == (name in ASSERTIONS)
