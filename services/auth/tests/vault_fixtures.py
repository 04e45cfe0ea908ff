"""A Vault for tests, and the operator who holds its key."""

import base64
import json
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from testkit.plugin import service_folder

KEY = "auth-service"
SIGNING_KEY = "auth-access-tokens"


@dataclass(frozen=True)
class Operator:
    """Who may sign with the key that vouches for service accounts."""

    vault: httpx.Client

    @property
    def settings(self) -> dict[str, Any]:
        """What auth is told of this Vault."""
        return operator_settings(str(self.vault.base_url))

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


def operator_settings(vault_url: str) -> dict[str, Any]:
    """Return the settings of an auth that has an operator's signatures verified by a Vault."""
    return {
        "vault_verify_enabled": True,
        "vault_addr": vault_url,
        "vault_token": "hvs.of-the-tests",
        "vault_transit_key": KEY,
    }


@dataclass(frozen=True)
class SigningVault:
    """A Vault that signs access tokens, with the policies as they are handed out."""

    root: httpx.Client
    policies: Path
    app: FastAPI

    @classmethod
    def of(cls, root: httpx.Client, checkout: Path, app: FastAPI) -> "SigningVault":
        vault = cls(root, service_folder(checkout, "auth").parents[1] / "deploy" / "vault", app)
        for file in vault.policies.glob("*.hcl"):
            policy = {"policy": file.read_text()}
            assert root.put(f"/v1/sys/policies/acl/{file.stem}", json=policy).status_code == 204
        return vault

    def token(self, *policies: str, period: str = "1h") -> str:
        answer = self.root.post("/v1/auth/token/create", json={"policies": policies, "period": period})
        return str(answer.json()["auth"]["client_token"])

    def revoke(self, token: str) -> None:
        assert self.root.post("/v1/auth/token/revoke", json={"token": token}).status_code == 204

    def settings(self, **changes: Any) -> dict[str, Any]:
        """What auth is told of this Vault."""
        usual = {
            "auth_signer": "vault",
            "vault_addr": str(self.root.base_url),
            "vault_token": self.token("auth-service", "auth-signing"),
        }
        return usual | changes

    @property
    def operator(self) -> dict[str, Any]:
        """What the command for keys is told."""
        return self.settings(vault_token=self.token("auth-signing-operator"))

    def later(self, seconds: float) -> None:
        """Advance its time: tokens end by it."""
        acl = self.app.state.vault.acl
        before = acl.clock
        acl.clock = lambda: before() + seconds

    def rules(self, name: str) -> dict[str, set[str]]:
        """What a policy allows, by path."""
        text = (self.policies / f"{name}.hcl").read_text()
        found = re.findall(r'^path "([^"]+)" \{\n  capabilities = \[([^]]*)\]\n\}$', text, re.M)
        assert text.count("\npath ") == len(found)
        return {path: set(re.findall(r'"([a-z]+)"', words)) for path, words in found}

    def calls(self) -> list[str]:
        return list(self.root.get("/_sandbox/calls").json())

    def forget_calls(self) -> None:
        self.root.delete("/_sandbox/calls")

    def fault(self, **fault: Any) -> None:
        assert self.root.post("/_sandbox/faults", json=fault).status_code == 201

    def seal(self, sealed: bool = True) -> None:
        self.root.post("/_sandbox/state", json={"sealed": sealed})

    def recover(self) -> None:
        self.root.delete("/_sandbox/faults")
        self.seal(False)
