"""Keys as Vault's Transit engine keeps them: versions that sign, verify, and are retired.

Statuses and words follow OpenBao 2.6 (keysutil/policy.go, path_sign_verify.go), which Vault shares.
"""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.messages import Json


class VaultError(Exception):
    """A refusal in Vault's shape: a status, and what is in `errors`."""

    def __init__(self, status: int, *errors: str) -> None:
        super().__init__(status, *errors)
        self.status, self.errors = status, list(errors)


@dataclass(frozen=True)
class Version:
    """One version of a key; its private part leaves by no route."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self) -> Json:
        """Describe it as `GET keys/:name` does: raw public bytes in standard base64."""
        public = base64.b64encode(self.private.public_key().public_bytes_raw()).decode()
        return {"creation_time": self.created_at.isoformat(), "name": "ed25519", "public_key": public}


@dataclass
class TransitKey:
    """A named Ed25519 key."""

    name: str
    versions: dict[int, Version] = field(default_factory=lambda: {1: Version()})
    min_available: int = 0
    min_decryption: int = 1
    min_encryption: int = 0
    deletion_allowed: bool = False
    exportable: bool = False
    allow_plaintext_backup: bool = False

    @property
    def latest(self) -> int:
        """The newest version's number."""
        return max(self.versions)

    def to_json(self) -> Json:
        """Describe the key; versions that no longer verify are left out."""
        return {
            "name": self.name,
            "type": "ed25519",
            "latest_version": self.latest,
            "min_available_version": self.min_available,
            "min_decryption_version": self.min_decryption,
            "min_encryption_version": self.min_encryption,
            "supports_signing": True,
            "supports_encryption": False,
            "supports_decryption": False,
            "exportable": self.exportable,
            "allow_plaintext_backup": self.allow_plaintext_backup,
            "deletion_allowed": self.deletion_allowed,
            "derived": False,
            "soft_deleted": False,
            "auto_rotate_period": 0,
            "keys": {
                str(number): version.to_json()
                for number, version in self.versions.items()
                if number >= self.min_decryption
            },
        }

    def rotate(self) -> None:
        """Add a version, the latest at once."""
        self.versions[self.latest + 1] = Version()

    def configure(self, decryption: int | None, encryption: int | None) -> None:
        """Set the oldest versions that verify and that sign; raises VaultError."""
        verifying = self.min_decryption if decryption is None else (decryption or 1)
        signing = self.min_encryption if encryption is None else encryption
        for word, number in (("decryption", verifying), ("encryption", signing)):
            if number < 0:
                raise VaultError(400, f"min {word} version cannot be negative")
            if number > self.latest:
                raise VaultError(
                    400, f"cannot set min {word} version of {number}, latest key version is {self.latest}"
                )
        if 0 < signing < verifying:
            raise VaultError(
                400,
                f"cannot set min encryption/decryption values; min encryption version of {signing} "
                f"must be greater than or equal to min decryption version of {verifying}",
            )
        self.min_decryption, self.min_encryption = verifying, signing

    def trim(self, number: int) -> None:
        """Remove versions for good; raises VaultError."""
        if not self.min_encryption or not self.min_decryption:
            raise VaultError(
                400, "minimum available version cannot be set when minimum encryption version is not set"
            )
        if not self.min_available <= number <= min(self.min_encryption, self.min_decryption):
            raise VaultError(
                400,
                "minimum available version cannot be higher than minimum encryption or decryption version",
            )
        self.min_available = number
        self.versions = {one: version for one, version in self.versions.items() if one >= number}

    def sign(self, data: str, number: int, *, jws: bool) -> Json:
        """Sign base64 text with one version, the latest when it is 0; raises VaultError."""
        chosen = number or self.latest
        if chosen < 0:
            raise VaultError(400, "requested version for signing is negative")
        if chosen > self.latest:
            raise VaultError(400, "requested version for signing is higher than the latest key version")
        if chosen < max(self.min_encryption, self.min_available):
            raise VaultError(
                400, "requested version for signing is less than the minimum encryption key version"
            )
        signature = self.versions[chosen].private.sign(decode_base64(data))
        text = base64.urlsafe_b64encode(signature).rstrip(b"=") if jws else base64.b64encode(signature)
        return {"signature": f"vault:v{chosen}:{text.decode()}", "key_version": chosen}

    def verify(self, data: str, signature: str, *, jws: bool) -> Json:
        """Return whether a signature is one of ours; raises VaultError when it is none at all."""
        number, raw = self._parse_signature(signature, jws=jws)
        try:
            self.versions[number].private.public_key().verify(raw, decode_base64(data))
        except InvalidSignature:
            return {"valid": False}
        return {"valid": True}

    def _parse_signature(self, signature: str, *, jws: bool) -> tuple[int, bytes]:
        if not signature.startswith("vault:v"):
            raise VaultError(400, "invalid signature: no prefix")
        version, found, text = signature.removeprefix("vault:v").partition(":")
        if not found or ":" in text:
            raise VaultError(400, "invalid signature: wrong number of fields")
        number = self._parse_version(version)
        try:
            padded = text + "=" * (-len(text) % 4) if jws else text
            return number, base64.b64decode(padded, altchars=b"-_" if jws else None, validate=True)
        except ValueError:
            raise VaultError(400, "invalid base64 signature value") from None

    def _parse_version(self, version: str) -> int:
        """Return the number of a version that may verify."""
        if not version.isascii() or not version.isdigit():
            raise VaultError(400, "invalid signature: version number could not be decoded")
        number = int(version)
        if number > self.latest:
            raise VaultError(400, "invalid signature: version is too new")
        if number < max(self.min_decryption, self.min_available):
            raise VaultError(400, "ciphertext or signature version is disallowed by policy (too old)")
        return number


def decode_base64(data: str) -> bytes:
    """Read the standard base64 of an input; raises VaultError."""
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise VaultError(400, "unable to decode input as base64: illegal base64 data") from None
