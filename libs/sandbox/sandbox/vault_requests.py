"""What the sandbox's Vault is sent: Transit, secrets, policies, tokens, and faults to play."""

from typing import Literal

from pydantic import BaseModel, Field

from sandbox.messages import Json


class Fault(BaseModel):
    """An error for the next `count` requests, after `delay` seconds; without a status they are only late."""

    status: int | None = Field(default=None, ge=400, le=599)
    count: int = Field(default=1, ge=1, le=1_000_000)
    errors: list[str] = []
    delay: float = Field(default=0, ge=0, le=600)


class State(BaseModel):
    """Whether it is sealed; sealed, it answers nothing but its health."""

    sealed: bool


class KeyCreation(BaseModel):
    """How a key is made; the stand-in knows the one type that Acme uses."""

    type: str = "aes256-gcm96"
    # Only told of: nothing leaves this Vault, whatever is wished.
    exportable: bool = False
    allow_plaintext_backup: bool = False


class KeyConfiguration(BaseModel):
    """What of a key is changed."""

    min_decryption_version: int | None = None
    min_encryption_version: int | None = None
    deletion_allowed: bool | None = None


class KeyTrim(BaseModel):
    """Up to where versions are removed."""

    min_available_version: int


class BatchItem(BaseModel):
    """One text to sign or to verify."""

    input: str | None = None
    signature: str | None = None
    reference: str | None = None


class SignRequest(BatchItem):
    """What is signed or verified, alone or in a batch."""

    key_version: int = 0
    marshaling_algorithm: Literal["asn1", "jws"] = "asn1"
    batch_input: list[BatchItem] | None = None

    @property
    def is_jws(self) -> bool:
        """Whether signatures are URL-safe base64 without padding."""
        return self.marshaling_algorithm == "jws"


class SecretData(BaseModel):
    """A secret to keep."""

    data: Json


class Policy(BaseModel):
    """What a policy says, in HCL."""

    policy: str


class TokenRequest(BaseModel):
    """A token to make."""

    policies: list[str] = []
    period: str = "768h"


class TokenReference(BaseModel):
    """A token to end."""

    token: str
