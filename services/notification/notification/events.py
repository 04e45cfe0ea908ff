"""Events that this service consumes, with only the fields that it reads."""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from notification.name_filter import safe_name

# How auth masks an IP address: `203.0.113.x`, `2001:db8:1::/48`.
NETWORK = re.compile(r"(?:[0-9]{1,3}\.){3}x|(?:[0-9a-f]{1,4}:){1,3}:/48")
NUMBER = re.compile(r"[0-9]{1,3}")
FACTORS = {"totp": "an authenticator app", "passkey": "a passkey"}
ATTACKS = {
    "password_spraying": "failed sign-ins to many accounts from one network (password spraying)",
    "credential_stuffing": "failed sign-ins to many accounts from many networks (credential stuffing)",
}
# How auth describes an API key: how it begins, its scopes, its name.
KEY_LINE = re.compile(
    r"(acme_ak_[0-9a-f]{32}) ([a-z_]{1,32}:[a-z]{1,32}(?:,[a-z_]{1,32}:[a-z]{1,32}){0,63}) (.*)"
)
MASKED_EMAIL = re.compile(r"([A-Za-z0-9])\*{3}@([A-Za-z0-9])[A-Za-z0-9.-]{0,253}\.([A-Za-z]{2,63})")


def format_time(time: datetime) -> str:
    """Format a time for readers in every time zone."""
    return f"{time.astimezone(UTC):%d %B %Y, %H:%M} UTC"


def format_timestamp(text: str | None) -> str | None:
    """Format an ISO 8601 timestamp, or return None where it is none."""
    try:
        return format_time(datetime.fromisoformat(text or ""))
    except (ValueError, OverflowError):
        return None


def masked_email(email: str | None) -> str | None:
    """Return a masked email address, `a***@e***.org`, or None where the value is something else."""
    match = MASKED_EMAIL.fullmatch(email or "")
    return f"{match[1]}***@{match[2]}***.{match[3]}" if match else None


def masked_network(address: str | None) -> str | None:
    """Return a masked IP address, or None where the value is something else."""
    return address if address and NETWORK.fullmatch(address) else None


def small_number(text: str | None) -> str | None:
    """Return a small number, or None where the value is something else."""
    return text if text and NUMBER.fullmatch(text) else None


def describe_keys(text: str | None) -> list[str]:
    """Describe API keys, one per line: the name where it is safe, the prefix, the scopes."""
    return [
        describe_key(*match.groups()) for match in map(KEY_LINE.fullmatch, (text or "").splitlines()) if match
    ]


def describe_key(prefix: str, scopes: str, name: str) -> str:
    """Describe an API key."""
    label = safe_name(name)
    return f"{f'“{label}”, ' if label else ''}{prefix}…, {scopes.replace(',', ', ')}"


def factor_label(factor: str | None) -> str | None:
    """Return the name of a second factor in plain words."""
    return FACTORS.get(factor or "", factor)


def attack_label(attack: str | None) -> str | None:
    """Return the description of an attack, or None for an unknown one."""
    return ATTACKS.get(attack or "")


Name = Annotated[str | None, AfterValidator(safe_name)]
EmailAddress = Annotated[
    str, StringConstraints(pattern=r"^[^\s\p{C}@<>,;]+@[^\s\p{C}@<>,;]+$", max_length=320)
]


class Verification(BaseModel):
    """The token that verifies an address, encrypted for this service."""

    model_config = ConfigDict(hide_input_in_errors=True)

    token: str
    expires_at: AwareDatetime


class VerificationRequested(BaseModel):
    """`auth.user.registered.v1`, `auth.email_verification.requested.v1` of the version before."""

    # Validation errors are logged and stored with dead letters; addresses must not be.
    model_config = ConfigDict(hide_input_in_errors=True)

    user_id: str
    tenant_id: UUID
    email: EmailAddress
    display_name: Name = None
    tenant_name: Name = None
    verification: Verification


class Facts(BaseModel):
    """Values of the templates; each may be missing, and one that is not safe to show is dropped."""

    tenant_name: Name = None
    role: Name = None
    inviter: Annotated[Name, Field(validation_alias=AliasChoices("inviter", "invited_by"))] = None
    new_owner: Name = None
    # An access request and its decision.
    applicant: Annotated[Name, Field(validation_alias=AliasChoices("applicant", "name"))] = None
    company: Name = None
    reason: Name = None
    factor: Annotated[Name, AfterValidator(factor_label)] = None
    # Remaining recovery codes.
    left: Annotated[str | None, AfterValidator(small_number)] = None
    key_name: Name = None
    # Who did it, if it was not the recipient.
    actor: Name = None
    # The holder of API keys that have stopped or keep working, and the keys.
    member: Name = None
    keys: Annotated[list[str], BeforeValidator(describe_keys)] = []
    # A service account.
    account: Name = None
    new_email_masked: Annotated[str | None, AfterValidator(masked_email)] = None
    device: Name = None
    place: Name = None
    # Of the previous sign-in.
    place_before: Name = None
    attack: Annotated[str | None, AfterValidator(attack_label)] = None
    # Masked: `203.0.113.x`, `2001:db8::/48`.
    address: Annotated[str | None, AfterValidator(masked_network)] = None
    at: Annotated[str | None, AfterValidator(format_timestamp)] = None


class EmailRequested(BaseModel):
    """`auth.email.requested.v1`: an email is to be sent, with a token (encrypted for us) or as a notice."""

    model_config = ConfigDict(hide_input_in_errors=True)

    # Any word: a newer auth may request an email that only a newer sender has a template for.
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
    recipient: str
    tenant_id: UUID | None
    email: EmailAddress
    display_name: Name = None
    facts: Facts
    token: str | None
    expires_at: AwareDatetime
