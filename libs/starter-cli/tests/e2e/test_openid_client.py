"""openid-client at the gateway: discovery, tokens by secret and by key, and the issuer's keys."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servicekit.auth import jose
from starter_cli import service_accounts
from starter_cli.stack import Stack
from testkit.client_environments import installed, run
from testkit.pacts import ROOT

from .conftest import Person

SCOPE = "conversations:read"
SCRIPT = ROOT / "services/auth/tests/clients/node/openid_client.mjs"


def issue(stack: Stack, owner: Person, **more: Any) -> dict[str, Any]:
    """Issue a credential of the demo application, with more in the signed request."""
    request = service_accounts.request_for(owner.tenant_id, "demo-application", [SCOPE], 600)
    payload = base64.b64encode(
        json.dumps({**json.loads(base64.b64decode(request)), **more}).encode()
    ).decode()
    body = {"payload_b64": payload, "signature": service_accounts.sign(stack.layout, payload)}
    answer = httpx.post(
        f"{stack.gateway_url}/api/v1/auth/service-accounts/issue", json=body, timeout=60, trust_env=False
    )
    assert answer.status_code == 201, answer.text
    issued: dict[str, Any] = answer.json()
    return issued


def test_gets_tokens_and_uses_them(stack: Stack, owner: Person, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.encode(key.public_key().public_bytes_raw())}
    request = {
        "issuer": stack.gateway_url,
        "scope": SCOPE,
        "credential": issue(stack, owner),
        "keyed": issue(stack, owner, jwk=jwk),
        "key": {**jwk, "d": jose.encode(key.private_bytes_raw())},
        "resource": f"{stack.gateway_url}/api/v1/conversations",
    }
    (tmp_path / "node_modules").symlink_to(installed("auth-node") / "node_modules")
    received = json.loads(run(["node", shutil.copy(SCRIPT, tmp_path), json.dumps(request)], tmp_path))
    assert received.pop("refusal") == "401 invalid_client"
    assert received.keys() == {"client_secret_basic", "client_secret_post", "private_key_jwt"}
    for token in received.values():
        assert (token["token_type"], token["scope"], token["status"]) == ("bearer", SCOPE, 200)
        assert token["subject"].startswith("service:")
