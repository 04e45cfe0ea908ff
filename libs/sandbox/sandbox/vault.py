"""Vault in one process: Transit with Ed25519 keys, KV version 2, policies, tokens. It answers as Vault does.

Any `X-Vault-Token` may do everything, but one that begins with `hvs.invalid`, and those that were made here:
they may do what their policies say, until they end. Nothing outlives the process.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import JsonValue
from starlette.exceptions import HTTPException

from sandbox.messages import Json
from sandbox.transit import TransitKey, VaultError
from sandbox.vault_policies import Acl, parse_policy
from sandbox.vault_requests import (
    BatchItem,
    Fault,
    KeyConfiguration,
    KeyCreation,
    KeyTrim,
    Policy,
    SecretData,
    SignRequest,
    State,
    TokenReference,
    TokenRequest,
)

_LEASE_SECONDS = 2_764_800
_MAX_SECRETS = 1_000


@dataclass
class Vault:
    """What is kept."""

    sealed: bool = False
    keys: dict[str, TransitKey] = field(default_factory=dict)
    secrets: dict[str, list[tuple[datetime, Json]]] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    calls: deque[str] = field(default_factory=lambda: deque(maxlen=10_000))
    acl: Acl = field(default_factory=Acl)

    def next_fault(self) -> Fault | None:
        """Return the fault that the next request meets, if one is left."""
        if not self.faults:
            return None
        self.faults[0].count -= 1
        return self.faults.popleft() if not self.faults[0].count else self.faults[0]

    def get_key(self, name: str, status: int = 404, *errors: str) -> TransitKey:
        """Return a key; raises VaultError."""
        if name not in self.keys:
            raise VaultError(status, *errors)
        return self.keys[name]


def _get_vault(request: Request) -> Vault:
    vault: Vault = request.app.state.vault
    return vault


VaultDep = Annotated[Vault, Depends(_get_vault)]


async def _authorize(
    request: Request, vault: VaultDep, token: Annotated[str, Header(alias="X-Vault-Token")] = ""
) -> str:
    """Authorize a request as Vault would now."""
    path = request.url.path.partition("/v1")[2]
    vault.calls.append(f"{request.method} {path}")
    if fault := vault.next_fault():
        await asyncio.sleep(fault.delay)
        if fault.status is not None:
            raise VaultError(fault.status, *fault.errors)
    if vault.sealed:
        raise VaultError(503, "Vault is sealed")
    vault.acl.check(token, request.method, path.removeprefix("/"))
    return token


Token = Annotated[str, Depends(_authorize)]

vault_api = APIRouter(prefix="/v1", dependencies=[Depends(_authorize)])
open_api = APIRouter()


def vault_response(
    data: JsonValue = None, *, auth: JsonValue = None, warnings: list[str] | None = None
) -> Json:
    """Wrap an answer as Vault does."""
    return {
        "request_id": str(uuid4()),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": list(warnings or []) or None,
        "auth": auth,
    }


@vault_api.post("/transit/keys/{name}")
@vault_api.put("/transit/keys/{name}", include_in_schema=False)
async def create_key(name: str, body: KeyCreation, vault: VaultDep) -> Json:
    """Make a key; one that exists stays as it is, and only a warning says so."""
    if body.type != "ed25519":
        raise VaultError(400, f"unknown key type {body.type}")
    warnings = [f"key {name} already existed"] if name in vault.keys else []
    key = TransitKey(name, exportable=body.exportable, allow_plaintext_backup=body.allow_plaintext_backup)
    return vault_response(vault.keys.setdefault(name, key).to_json(), warnings=warnings)


@vault_api.get("/transit/keys/{name}")
async def read_key(name: str, vault: VaultDep) -> Json:
    """Return a key."""
    return vault_response(vault.get_key(name).to_json())


@vault_api.post("/transit/keys/{name}/rotate")
async def rotate_key(name: str, vault: VaultDep) -> Json:
    """Add a version."""
    key = vault.get_key(name, 400, "key not found")
    key.rotate()
    return vault_response(key.to_json())


@vault_api.post("/transit/keys/{name}/config")
async def configure_key(name: str, body: KeyConfiguration, vault: VaultDep) -> Json:
    """Change which versions sign and verify."""
    key = vault.get_key(name, 400, f"no existing key named {name} could be found")
    key.configure(body.min_decryption_version, body.min_encryption_version)
    key.deletion_allowed = bool(body.deletion_allowed or key.deletion_allowed)
    return vault_response(key.to_json())


@vault_api.post("/transit/keys/{name}/trim", status_code=204)
async def trim_key(name: str, body: KeyTrim, vault: VaultDep) -> None:
    """Remove old versions for good."""
    vault.get_key(name, 400, "invalid key name").trim(body.min_available_version)


@vault_api.post("/transit/sign/{name}")
@vault_api.post("/transit/sign/{name}/{_hash}", include_in_schema=False)
async def sign(name: str, body: SignRequest, vault: VaultDep) -> Json:
    """Sign; Ed25519 takes the text as it is, whatever hash is named."""
    key = vault.get_key(name, 400, "signing key not found")

    def one(item: BatchItem) -> Json:
        return key.sign(required(item.input, "input"), body.key_version, jws=body.is_jws)

    return vault_response(for_each_item(body, one))


@vault_api.post("/transit/verify/{name}")
@vault_api.post("/transit/verify/{name}/{_hash}", include_in_schema=False)
async def verify(name: str, body: SignRequest, vault: VaultDep) -> Json:
    """Verify: a wrong signature is an answer, a malformed one an error."""
    key = vault.get_key(name, 400, "signature verification key not found")

    def one(item: BatchItem) -> Json:
        return key.verify(
            required(item.input, "input"), required(item.signature, "signature"), jws=body.is_jws
        )

    return vault_response(for_each_item(body, one))


def for_each_item(body: SignRequest, one: Callable[[BatchItem], Json]) -> Json:
    """Do one, or all of a batch in its order; there, an error is the item's own."""
    if body.batch_input is None:
        return one(body)
    results: list[JsonValue] = []
    for item in body.batch_input:
        try:
            result = one(item)
        except VaultError as error:
            result = {"error": error.errors[0]}
        results.append({**result, **({"reference": item.reference} if item.reference else {})})
    return {"batch_results": results}


def required(value: str | None, name: str) -> str:
    """Return a parameter that is required; raises VaultError."""
    if value is None:
        raise VaultError(400, f"missing {name}")
    return value


@vault_api.post("/secret/data/{path:path}")
@vault_api.put("/secret/data/{path:path}", include_in_schema=False)
async def write_secret(path: str, body: SecretData, vault: VaultDep) -> Json:
    """Store one more version of a secret."""
    if path not in vault.secrets and len(vault.secrets) >= _MAX_SECRETS:
        raise VaultError(507, "the sandbox is full")
    vault.secrets.setdefault(path, []).append((datetime.now(UTC), body.data))
    return vault_response(metadata(vault.secrets[path], len(vault.secrets[path])))


@vault_api.get("/secret/data/{path:path}")
async def read_secret(path: str, vault: VaultDep, version: int = 0) -> Json:
    """Return a version of a secret, the newest by default."""
    versions = vault.secrets.get(path, [])
    number = version or len(versions)
    if not 0 < number <= len(versions):
        raise VaultError(404)
    return vault_response({"data": versions[number - 1][1], "metadata": metadata(versions, number)})


def metadata(versions: list[tuple[datetime, Json]], number: int) -> Json:
    """Describe a version of a secret."""
    created = versions[number - 1][0].isoformat()
    return {"created_time": created, "deletion_time": "", "destroyed": False, "version": number}


@vault_api.put("/sys/policies/acl/{name}", status_code=204)
@vault_api.post("/sys/policies/acl/{name}", status_code=204, include_in_schema=False)
async def write_policy(name: str, body: Policy, vault: VaultDep) -> None:
    """Store a policy; tokens that are made from now on follow it."""
    vault.acl.policies[name] = parse_policy(body.policy)


@vault_api.post("/auth/token/create")
async def create_token(body: TokenRequest, vault: VaultDep) -> Json:
    """Make a token that may do what its policies say, for as long as it is renewed."""
    period = parse_duration(body.period)
    policies: list[JsonValue] = [*body.policies]
    return vault_response(
        auth={
            "client_token": vault.acl.issue(body.policies, period),
            "accessor": "sandbox",
            "policies": policies,
            "lease_duration": int(period),
            "renewable": True,
        }
    )


def parse_duration(duration: str) -> float:
    """Read a duration as Vault writes it: `90`, `90s`, `5m`, `24h`; raises VaultError."""
    number, unit = (duration, "s") if duration[-1:].isdigit() else (duration[:-1], duration[-1:])
    try:
        return float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except (ValueError, KeyError):
        raise VaultError(400, f"error converting input for field: {duration}") from None


@vault_api.post("/auth/token/revoke", status_code=204)
@vault_api.put("/auth/token/revoke", status_code=204, include_in_schema=False)
async def revoke_token(body: TokenReference, vault: VaultDep) -> None:
    """End a token."""
    vault.acl.revoke(body.token)


@vault_api.get("/auth/token/lookup-self")
async def lookup_self(token: Token) -> Json:
    """Describe the caller's token."""
    return vault_response(
        {
            "id": token,
            "accessor": "sandbox",
            "display_name": "token",
            "policies": ["default", "auth-service"],
            "renewable": True,
            "ttl": _LEASE_SECONDS,
            "creation_ttl": _LEASE_SECONDS,
            "type": "service",
        }
    )


@vault_api.post("/auth/token/renew-self")
@vault_api.put("/auth/token/renew-self", include_in_schema=False)
async def renew_self(token: Token, vault: VaultDep) -> Json:
    """Renew the caller's token."""
    lease = vault.acl.renew(token)
    return vault_response(
        auth={
            "client_token": token,
            "accessor": "sandbox",
            "policies": ["default", "auth-service"],
            "lease_duration": _LEASE_SECONDS if lease is None else int(lease),
            "renewable": True,
        }
    )


@open_api.api_route("/v1/sys/health", methods=["GET", "HEAD"])
async def health(vault: VaultDep, response: Response) -> Json:
    """Return the health: 200, or 503 while sealed."""
    response.status_code = 503 if vault.sealed else 200
    return {"initialized": True, "sealed": vault.sealed, "standby": False, "version": "sandbox"}


@open_api.post("/_sandbox/state")
async def set_state(state: State, vault: VaultDep) -> State:
    """Seal or unseal."""
    vault.sealed = state.sealed
    return state


@open_api.post("/_sandbox/faults", status_code=201)
async def add_fault(fault: Fault, vault: VaultDep) -> Fault:
    """Make the next requests fail."""
    vault.faults.append(fault.model_copy())
    return fault


@open_api.delete("/_sandbox/faults", status_code=204)
async def clear_faults(vault: VaultDep) -> None:
    """Call the faults off."""
    vault.faults.clear()


@open_api.delete("/_sandbox/calls", status_code=204)
async def clear_calls(vault: VaultDep) -> None:
    """Begin the list anew."""
    vault.calls.clear()


@open_api.get("/_sandbox/calls")
async def list_calls(vault: VaultDep) -> list[str]:
    """List what was asked, oldest first."""
    return list(vault.calls)


def create_vault() -> FastAPI:
    """Build the stand-in; it begins unsealed and empty."""
    app = FastAPI(title="Acme sandbox vault", openapi_url=None)
    app.state.vault = Vault()
    app.include_router(vault_api)
    app.include_router(open_api)
    app.add_exception_handler(VaultError, _vault_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


def _vault_error(_: Request, error: Exception) -> Response:
    status, errors = (error.status, error.errors) if isinstance(error, VaultError) else (500, [str(error)])
    return JSONResponse({"errors": errors}, status)


def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse(
        {"errors": ["no handler for route"] if status == 404 else ["unsupported operation"]}, status
    )


def _invalid(_: Request, error: Exception) -> Response:
    return JSONResponse({"errors": [f"error parsing the request: {error}"]}, 400)
