"""openid-client, which frameworks use for OAuth, against the discovery document and the token endpoint."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from anyio import to_thread
from auth.main import create_app
from auth.settings import Settings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sandbox.embedded import free_port
from servicekit.auth import jose
from testkit.client_environments import installed, run
from testkit.live_server import serving

SCOPES = ["conversations:read", "conversations:write"]


@pytest.fixture
async def owner(auth):
    return await auth.somebody()


@pytest.fixture
def changes(operator, owner, tmp_path):
    """What a replica is told that issues credentials of one service account."""
    accounts = {"nightly-export": {"role": "member", "scopes": SCOPES, "tenants": [owner["tenant_id"]]}}
    path = tmp_path / "accounts.yaml"
    path.write_text(yaml.safe_dump({"accounts": accounts}))
    return {**operator.settings, "auth_service_accounts_file": path}


@pytest.fixture
async def service(start, changes):
    return await start(**changes)


@pytest.fixture
def issuer(variables, changes):
    """Another replica on a real socket, which is its issuer."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"auth_issuer": url, "auth_jwks_url": f"{url}/.well-known/jwks.json"}
    with serving(create_app(Settings(**{**variables, **changes, **own})), port):
        yield url


async def test_gets_tokens_by_secret_and_by_key(service, operator, owner, issuer, tmp_path):
    async def issue(**more):
        request = operator.request(tenant_id=owner["tenant_id"], scopes=SCOPES, **more)
        answer = await service.post("service-accounts/issue", **request)
        assert answer.status_code == 201, answer.text
        return answer.json()

    key = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.encode(key.public_key().public_bytes_raw())}
    request = {
        "issuer": issuer,
        "scope": SCOPES[0],
        "credential": await issue(),
        "keyed": await issue(jwk=jwk),
        "key": {**jwk, "d": jose.encode(key.private_bytes_raw())},
    }
    received = json.loads(await to_thread.run_sync(execute, request, tmp_path))
    assert received.pop("refusal") == "401 invalid_client"
    assert received.keys() == {"client_secret_basic", "client_secret_post", "private_key_jwt"}
    for token in received.values():
        assert (token["token_type"], token["scope"]) == ("bearer", SCOPES[0])
        assert service.claims(token)["iss"] == issuer


def execute(request, folder):
    (folder / "node_modules").symlink_to(installed("auth-node") / "node_modules")
    script = shutil.copy(Path(__file__).parent / "node" / "openid_client.mjs", folder)
    return run(["node", script, json.dumps(request)], folder)
