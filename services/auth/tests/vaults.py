"""A Vault for tests, and the operator who holds its key."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import httpx

KEY = "auth-service"


@dataclass(frozen=True)
class Operator:
    """Who may sign with the key that vouches for service accounts."""

    vault: httpx.Client

    @property
    def settings(self) -> dict[str, Any]:
        """What auth is told of this Vault."""
        return {
            "vault_verify_enabled": True,
            "vault_addr": str(self.vault.base_url),
            "vault_token": "hvs.of-the-tests",
            "vault_transit_key": KEY,
        }

    def call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = self.vault.request(method, f"/v1/{path}", json=body or None)
        assert answer.is_success, answer.text
        return answer.json()["data"] if answer.content else {}

    def sign(self, data: bytes, key: str = KEY) -> str:
        text = base64.b64encode(data).decode()
        return str(self.call("POST", f"transit/sign/{key}", input=text)["signature"])

    def payload(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {
            "iss": "acme-operator",
            "aud": "auth-service",
            "account": "nightly-export",
            "tenant_id": None,
            "scopes": ["conversations:read"],
            "lifetime_s": 3600,
            "nonce": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + 120,
        }
        return {name: value for name, value in (usual | changes).items() if value is not ...}

    def request(self, **changes: Any) -> dict[str, str]:
        """A request to issue, as an operator's tool sends it."""
        return self.signed(json.dumps(self.payload(**changes)).encode())

    def signed(self, data: bytes) -> dict[str, str]:
        return {"payload_b64": base64.b64encode(data).decode(), "signature": self.sign(data)}

    def fault(self, **fault: Any) -> None:
        assert self.vault.post("/_sandbox/faults", json=fault).status_code == 201

    def recover(self) -> None:
        self.vault.delete("/_sandbox/faults")
        self.vault.post("/_sandbox/state", json={"sealed": False})
