"""openid-client, which frameworks use for OAuth, against the discovery document and the token endpoint."""

import json
import shutil
from pathlib import Path

from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servicekit.auth import jose
from testkit.client_environments import installed, run

from .conftest import SCOPES


async def test_gets_tokens_by_secret_and_by_key(service, issue, issuer, tmp_path):
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
        claims = service.claims(token)
        assert (claims["iss"], claims["sub"]) == (issuer, token["subject"])


def execute(request, folder):
    (folder / "node_modules").symlink_to(installed("auth-node") / "node_modules")
    script = shutil.copy(Path(__file__).parent / "node" / "openid_client.mjs", folder)
    return run(["node", script, json.dumps(request)], folder)
