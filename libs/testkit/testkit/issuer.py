"""A token issuer for tests: real Ed25519 keys, real tokens, and a key set served over real HTTP.

with Issuer() as issuer:
    cache = JwksCache(issuer.jwks_url)
    token = issuer.token(tenant_id=tenant, role="member")
    issuer.answer = Answer(status=500)  # from now on
"""

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import JsonValue
from servicekit.auth import jose
from servicekit.auth.permissions import Role, scopes_for

LIFETIME_SECONDS = 600
NO_BODY_STATUSES = frozenset({204, 304})


@dataclass(frozen=True)
class SigningKey:
    """A private key and its JWK, with the thumbprint of RFC 7638 as its id."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public_bytes(self) -> bytes:
        """The raw public key."""
        return self.private.public_key().public_bytes_raw()

    @property
    def kid(self) -> str:
        """The key's id."""
        members = {"crv": "Ed25519", "kty": "OKP", "x": jose.encode(self.public_bytes)}
        return jose.encode(hashlib.sha256(compact(members)).digest())

    @property
    def jwk(self) -> dict[str, JsonValue]:
        """The public JWK, as an issuer publishes it."""
        point = jose.encode(self.public_bytes)
        return {"kty": "OKP", "crv": "Ed25519", "x": point, "kid": self.kid, "use": "sig", "alg": "EdDSA"}

    def sign(self, header: bytes, payload: bytes) -> str:
        """Make a compact JWS (RFC 7515) of any two texts, sensible or not."""
        signed = f"{jose.encode(header)}.{jose.encode(payload)}"
        return f"{signed}.{jose.encode(self.private.sign(signed.encode()))}"


@dataclass(frozen=True)
class JwksResponse:
    """How the key set is answered; by default well. `body` None is the published keys."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"Cache-Control": "public, max-age=300"})
    etag: bool = True
    # Nothing is answered before this is set.
    gate: threading.Event | None = None
    # Seconds between one byte of the body and the next.
    drip: float = 0


class Issuer:
    """Signs tokens with its newest key, and serves its published keys on a port of the loopback address."""

    def __init__(self, issuer: str = "https://auth.acme.test", audience: str = "acme-api") -> None:
        self.issuer = issuer
        self.audience = audience
        self.key = SigningKey()
        self.published = [self.key.jwk]
        self.answer = JwksResponse()
        # The headers of every request for the key set, in order of arrival.
        self.requests: list[Mapping[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def jwks_url(self) -> str:
        """Where the key set is."""
        return f"http://127.0.0.1:{self._server.server_port}/.well-known/jwks.json"

    def rotate(self, *, publish: bool = True) -> SigningKey:
        """Sign with a new key from now on; the old ones stay published."""
        self.key = SigningKey()
        if publish:
            self.publish(self.key)
        return self.key

    def publish(self, key: SigningKey) -> None:
        """Add a key to the key set."""
        self.published = [*self.published, key.jwk]

    def withdraw(self, key: SigningKey) -> None:
        """Remove a key from the key set."""
        self.published = [jwk for jwk in self.published if jwk["kid"] != key.kid]

    def token(
        self,
        *,
        tenant_id: UUID | str | None = None,
        subject: str | None = None,
        role: str = "owner",
        header: Mapping[str, JsonValue] | None = None,
        without: Sequence[str] = (),
        **claims: JsonValue,
    ) -> str:
        """Issue a person's access token; claims and header members given here replace the proper ones."""
        proper: dict[str, JsonValue] = {
            "sub": subject or f"user:{uuid4()}",
            "client_id": "acme-web",
            "sid": str(uuid4()),
            "tenant_id": str(tenant_id or uuid4()),
            "role": role,
            "scope": full_scope(role),
            "email_verified": True,
            "amr": ["pwd"],
            "auth_time": int(time.time()),
        }
        return self.sign({**proper, **claims}, header=header, without=without)

    def service_token(
        self,
        client_id: str,
        *,
        audience: str,
        scope: str,
        header: Mapping[str, JsonValue] | None = None,
        **claims: JsonValue,
    ) -> str:
        """Issue a machine's access token, for one service."""
        proper: dict[str, JsonValue] = {
            "sub": f"service:{client_id}",
            "client_id": client_id,
            "aud": audience,
            "scope": scope,
        }
        return self.sign({**proper, **claims}, header=header)

    def sign(
        self,
        claims: Mapping[str, JsonValue],
        *,
        header: Mapping[str, JsonValue] | None = None,
        without: Sequence[str] = (),
        key: SigningKey | None = None,
    ) -> str:
        """Sign claims, completed by those that every access token has, less those named in `without`."""
        key = key or self.key
        now = int(time.time())
        common: dict[str, JsonValue] = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": str(uuid4()),
        }
        head: dict[str, JsonValue] = {"typ": "at+jwt", "alg": "EdDSA", "kid": key.kid, **(header or {})}
        whole = {**common, **claims}
        return key.sign(
            compact({name: value for name, value in head.items() if name not in without}),
            compact({name: value for name, value in whole.items() if name not in without}),
        )


def full_scope(role: str) -> JsonValue:
    """Write the scope of a token that may do all that its role may."""
    return (
        " ".join(sorted(scopes_for(Role(role)))) if role in {str(known) for known in Role} else "tools:read"
    )


def compact(value: Mapping[str, JsonValue]) -> bytes:
    """Write JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def handler_for(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    """Make the handler that answers for one issuer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(dict(self.headers.items()))
            # A client that does not wait for the end is part of what is tested.
            with suppress(ConnectionError):
                respond(self, issuer.answer, compact({"keys": list(issuer.published)}))

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    return Handler


def respond(handler: BaseHTTPRequestHandler, answer: JwksResponse, published: bytes) -> None:
    """Answer one request, faults included."""
    if answer.gate:
        answer.gate.wait(timeout=60)
    body = published if answer.body is None else answer.body
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    unchanged = answer.etag and answer.status == 200 and handler.headers.get("If-None-Match") == etag
    status = 304 if unchanged else answer.status
    handler.send_response(status)
    if answer.etag:
        handler.send_header("ETag", etag)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    if status in NO_BODY_STATUSES:
        handler.end_headers()
        return
    handler.send_header("Content-Type", "application/jwk-set+json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    write(handler, body, answer.drip)


def write(handler: BaseHTTPRequestHandler, body: bytes, drip: float) -> None:
    """Send a body, at once or a byte at a time."""
    if not drip:
        handler.wfile.write(body)
        return
    for byte in body:
        handler.wfile.write(bytes([byte]))
        time.sleep(drip)
