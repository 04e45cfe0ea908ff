"""Service accounts of a stack: their credentials are signed by the sandbox's Vault, and issued by auth."""

import base64
import json
import secrets
import shlex
import time
from collections.abc import Sequence

import httpx
import hvac  # type: ignore[import-untyped]  # it ships no types

from starter_cli import owner, vault
from starter_cli.errors import Failure
from starter_cli.gateway import GatewayClient, UnexpectedResponse, unreachable
from starter_cli.paths import Layout

TIMEOUT_SECONDS = 30
SIGNED_FOR_SECONDS = 120
COMMAND = "service-accounts issue"


def issue(layout: Layout, account: str, scopes: Sequence[str], lifetime_seconds: int) -> str:
    """Issue a credential for the first tenant; returns the lines of a shell that name it. Raises Failure."""
    if not vault.uses_sandbox():
        raise Failure(COMMAND, "VAULT_ADDR is set: sign with that Vault (docs/reference/auth.md)")
    try:
        with GatewayClient(layout.gateway_url) as gateway:
            gateway.sign_in(owner.first_owner(layout))
            request = request_for(gateway.tenant_id, account, scopes, lifetime_seconds)
            issued = gateway.issue_credential(request, sign(layout, request))
    except UnexpectedResponse as error:
        raise Failure(COMMAND, str(error)) from error
    except httpx.HTTPError as error:
        raise Failure(COMMAND, unreachable(layout.gateway_url, error)) from error
    names = {"CLIENT_ID": "client_id", "CLIENT_SECRET": "client_secret", "TOKEN_ENDPOINT": "token_endpoint"}
    return "\n".join(f"{name}={shlex.quote(issued[member])}" for name, member in names.items())


def request_for(tenant_id: str, account: str, scopes: Sequence[str], lifetime_seconds: int) -> str:
    """Return the request for a credential, in base64."""
    now = int(time.time())
    payload = {
        "iss": "acme-operator",
        "aud": "auth-service",
        "account": account,
        "tenant_id": tenant_id,
        "scopes": [*scopes],
        "lifetime_s": lifetime_seconds,
        "nonce": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + SIGNED_FOR_SECONDS,
    }
    return base64.b64encode(json.dumps(payload).encode()).decode()


def sign(layout: Layout, encoded: str) -> str:
    """Sign base64 with the key that vouches for service accounts, which is made first where it is missing."""
    transit = hvac.Client(vault.sandbox_url(layout), vault.TOKEN, timeout=TIMEOUT_SECONDS).secrets.transit
    transit.create_key(vault.KEY, key_type="ed25519")
    signature: str = transit.sign_data(vault.KEY, hash_input=encoded)["data"]["signature"]
    return signature
