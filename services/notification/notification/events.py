"""What this service hears, with only the fields that it reads."""

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

# What auth shows of an address: `203.0.113.x`, `2001:db8:1::/48`.
NETWORK = re.compile(r"(?:[0-9]{1,3}\.){3}x|(?:[0-9a-f]{1,4}:){1,3}:/48")
NUMBER = re.compile(r"[0-9]{1,3}")
FACTORS = {"totp": "an authenticator app", "passkey": "a passkey"}
ATTACKS = {
    "password_spraying": "one network fails to sign in to many accounts",
    "credential_stuffing": "many networks fail to sign in to many accounts",
}
# How auth describes an API key: how it begins, its scopes, its name.
KEY_LINE = re.compile(
    r"(acme_ak_[0-9a-f]{32}) ([a-z_]{1,32}:[a-z]{1,32}(?:,[a-z_]{1,32}:[a-z]{1,32}){0,63}) (.*)"
)
MASKED_EMAIL = re.compile(r"([A-Za-z0-9])\*{3}@([A-Za-z0-9])[A-Za-z0-9.-]{0,253}\.([A-Za-z]{2,63})")


def format_time(time: datetime) -> str:
    """Write a moment for people everywhere."""
    return f"{time.astimezone(UTC):%d %B %Y, %H:%M} UTC"


def format_timestamp(text: str | None) -> str | None:
    """Give a moment (ISO 8601) as people read it, or none where it is no moment."""
    try:
        return format_time(datetime.fromisoformat(text or ""))
    except (ValueError, OverflowError):
        return None


def masked_email(email: str | None) -> str | None:
    """Give an address of which nothing is left to write to, `a***@e***.org`; none where it is none."""
    match = MASKED_EMAIL.fullmatch(email or "")
    return f"{match[1]}***@{match[2]}***.{match[3]}" if match else None


def masked_network(address: str | None) -> str | None:
    """Give a part of an IP address, or none where it is nothing of the kind."""
    return address if address and NETWORK.fullmatch(address) else None


def small_number(text: str | None) -> str | None:
    """Give a small number, or none."""
    return text if text and NUMBER.fullmatch(text) else None


def describe_keys(text: str | None) -> list[str]:
    """Describe API keys, a line each: the name where it can be shown, how the key begins, its scopes."""
    return [
        describe_key(*match.groups()) for match in map(KEY_LINE.fullmatch, (text or "").splitlines()) if match
    ]


def describe_key(prefix: str, scopes: str, name: str) -> str:
    """Describe an API key."""
    label = safe_name(name)
    return f"{f'“{label}”, ' if label else ''}{prefix}…, {scopes.replace(',', ', ')}"


def factor_label(factor: str | None) -> str | None:
    """Name a second factor as people do."""
    return FACTORS.get(factor or "", factor)


def attack_label(attack: str | None) -> str | None:
    """Say what an attack looks like; what is none of those that we know is left out."""
    return ATTACKS.get(attack or "")


Name = Annotated[str | None, AfterValidator(safe_name)]
EmailAddress = Annotated[
    str, StringConstraints(pattern=r"^[^\s\p{C}@<>,;]+@[^\s\p{C}@<>,;]+$", max_length=320)
]


class Verification(BaseModel):
    """The token that proves that a person reads this address; sealed for us."""

    model_config = ConfigDict(hide_input_in_errors=True)

    token: str
    expires_at: AwareDatetime


class VerificationRequested(BaseModel):
    """`auth.user.registered.v1`, `auth.email_verification.requested.v1`: an address waits to be confirmed."""

    # What is wrong with an event ends up in logs and beside dead letters; addresses do not.
    model_config = ConfigDict(hide_input_in_errors=True)

    user_id: str
    tenant_id: UUID
    email: EmailAddress
    display_name: Name = None
    tenant_name: Name = None
    verification: Verification


class UserDeleted(BaseModel):
    """`auth.user.deleted.v1`: somebody has left for good."""

    user_id: str


class Facts(BaseModel):
    """What a letter may tell; each of them may be missing, and what cannot be shown is left out."""

    tenant_name: Name = None
    role: Name = None
    inviter: Annotated[Name, Field(validation_alias=AliasChoices("inviter", "invited_by"))] = None
    new_owner: Name = None
    # Who asks for access, from where, and what was said to it.
    applicant: Annotated[Name, Field(validation_alias=AliasChoices("applicant", "name"))] = None
    company: Name = None
    reason: Name = None
    factor: Annotated[Name, AfterValidator(factor_label)] = None
    # How many recovery codes are left.
    left: Annotated[str | None, AfterValidator(small_number)] = None
    key_name: Name = None
    # Who did it, where that is somebody else.
    actor: Name = None
    # Whose API keys have stopped, or go on, and which.
    member: Name = None
    keys: Annotated[list[str], BeforeValidator(describe_keys)] = []
    # A service account.
    account: Name = None
    new_email_masked: Annotated[str | None, AfterValidator(masked_email)] = None
    device: Name = None
    place: Name = None
    # Where they were the last time.
    place_before: Name = None
    attack: Annotated[str | None, AfterValidator(attack_label)] = None
    # Of which only a part is shown: `203.0.113.x`, `2001:db8::/48`.
    address: Annotated[str | None, AfterValidator(masked_network)] = None
    at: Annotated[str | None, AfterValidator(format_timestamp)] = None


class EmailRequested(BaseModel):
    """`auth.mail.due.v1`: somebody is to get a mail, with a token (sealed for us) or a mere notice."""

    model_config = ConfigDict(hide_input_in_errors=True)

    # Any word: what it means is for the sender to know, which may be newer than who hears of it.
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
    recipient: str
    tenant_id: UUID | None
    email: EmailAddress
    display_name: Name = None
    facts: Facts
    token: str | None
    expires_at: AwareDatetime
