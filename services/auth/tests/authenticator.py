"""A passkey in software, as honest as a real one: it lies only where a test has it lie."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from servicekit.auth import jose

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
ORIGIN = "https://app.acme.test"
AAGUID = bytes(16)

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def es256() -> Private:
    return ec.generate_private_key(ec.SECP256R1())


def eddsa() -> Private:
    return ed25519.Ed25519PrivateKey.generate()


@dataclass
class Authenticator:
    """One credential on one device; `counter` is what it tells with each signature."""

    key: Private = field(default_factory=es256)
    flags: int = PRESENT | VERIFIED
    counter: int = 0
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes = b""

    def register(self, options: dict[str, Any], **lies: Any) -> dict[str, Any]:
        """Make the credential (attestation none), as `credential.toJSON()` tells it."""
        self.user_handle = jose.decode(options["user"]["id"])
        length = len(self.credential_id).to_bytes(2, "big")
        attested = AAGUID + length + self.credential_id + cbor2.dumps(self.public_key())
        data = self.authenticator_data(lies.get("rp_id", options["rp"]["id"]), ATTESTED) + attested
        return self.credential(
            clientDataJSON=client_data("webauthn.create", options, lies),
            attestationObject=cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data}),
        )

    def sign(self, options: dict[str, Any], **lies: Any) -> dict[str, Any]:
        """Use the credential, as `credential.toJSON()` tells it."""
        self.counter += 1 if lies.get("counts", True) else 0
        data = self.authenticator_data(lies.get("rp_id", options["rpId"]), 0)
        client = client_data("webauthn.get", options, lies)
        signed = data + hashlib.sha256(client).digest()
        return self.credential(
            clientDataJSON=client,
            authenticatorData=data,
            signature=lies.get("signer", self).signature(signed),
            userHandle=lies.get("user_handle", self.user_handle),
        )

    def authenticator_data(self, rp_id: str, more: int) -> bytes:
        flags = bytes([self.flags | more])
        return hashlib.sha256(rp_id.encode()).digest() + flags + self.counter.to_bytes(4, "big")

    def signature(self, signed: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(signed)
        return self.key.sign(signed, ec.ECDSA(hashes.SHA256()))

    def public_key(self) -> dict[int, Any]:
        """The key as COSE writes it (RFC 9053)."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return {1: 1, 3: -8, -1: 6, -2: self.key.public_key().public_bytes_raw()}
        point = self.key.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}

    def credential(self, **response: bytes) -> dict[str, Any]:
        name = jose.encode(self.credential_id)
        return {
            "id": name,
            "rawId": name,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": {key: jose.encode(value) for key, value in response.items() if value},
        }


def client_data(kind: str, options: dict[str, Any], lies: dict[str, Any]) -> bytes:
    """What a browser has signed: never a page's own words."""
    client_data = {
        "type": lies.get("kind", kind),
        "challenge": lies.get("challenge", options["challenge"]),
        "origin": lies.get("origin", ORIGIN),
        "crossOrigin": False,
    }
    return json.dumps(client_data).encode()
