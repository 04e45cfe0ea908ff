"""Passkeys (WebAuthn level 3): good for our host alone, and proof of a person and a device at once."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import webauthn
from pydantic import JsonValue
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from webauthn.helpers.base64url_to_bytes import base64url_to_bytes
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from auth import users
from auth.factors.challenges import LIFE
from auth.factors.errors import (
    FactorRefused,
    PasskeyKnown,
    PasskeyNotRegistered,
    PasskeysUnavailable,
    TooManyPasskeys,
)
from auth.factors.schemas import Assertion, NewPasskey
from auth.models import Passkey, User
from auth.services import Parts
from auth.settings import Settings

T = TypeVar("T")
Options = dict[str, JsonValue]

logger = logging.getLogger(__name__)

RP_NAME = "Acme"
MOST = 20
TIMEOUT_MS = int(LIFE.total_seconds() * 1000)


async def options_to_register(db: AsyncSession, parts: Parts, user: User, to_sign: bytes) -> Options:
    """Say what a browser needs to make a passkey; raises PasskeysUnavailable or TooManyPasskeys."""
    known = await of(db, user.id)
    if len(known) >= MOST:
        raise TooManyPasskeys
    options = webauthn.generate_registration_options(
        rp_id=rp_id(parts.settings),
        rp_name=RP_NAME,
        # Opaque: a passkey tells its holder's id to whoever finds the device.
        user_id=user.id.bytes,
        user_name=user.email,
        user_display_name=user.display_name or user.email,
        challenge=to_sign,
        timeout=TIMEOUT_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=described(known),
    )
    return plain(webauthn.options_to_json(options))


def options_to_sign(parts: Parts, to_sign: bytes, known: list[Passkey]) -> Options:
    """Say what a browser needs to use a passkey: one of the known, or whichever somebody has for us."""
    options = webauthn.generate_authentication_options(
        rp_id=rp_id(parts.settings),
        challenge=to_sign,
        timeout=TIMEOUT_MS,
        allow_credentials=described(known) or None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return plain(webauthn.options_to_json(options))


@dataclass(frozen=True)
class Checked:
    """A passkey that was verified and is not kept yet, and its name."""

    name: str
    verified: VerifiedRegistration

    @property
    def amr(self) -> list[str]:
        """What making it has proved (RFC 8176)."""
        return ways(self.verified.credential_device_type)


def check(parts: Parts, wanted: NewPasskey, to_sign: bytes) -> Checked:
    """Verify a passkey that a browser has made; raises PasskeyNotRegistered or PasskeysUnavailable."""
    settings = parts.settings
    verified = judged(
        lambda: webauthn.verify_registration_response(
            credential=wanted.passkey.model_dump(by_alias=True, exclude_none=True),
            expected_challenge=to_sign,
            expected_rp_id=rp_id(settings),
            expected_origin=settings.passkey_origins,
            require_user_verification=True,
        )
    )
    if verified is None:
        raise PasskeyNotRegistered
    return Checked(wanted.name, verified)


async def register(db: AsyncSession, user: User, checked: Checked) -> Passkey:
    """Keep a passkey that was verified; raises PasskeyKnown."""
    verified = checked.verified
    added: Passkey | None = await db.scalar(
        insert(Passkey)
        .values(
            user_id=user.id,
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            name=checked.name,
        )
        .on_conflict_do_nothing(index_elements=[Passkey.credential_id])
        .returning(Passkey)
    )
    if added is None:
        raise PasskeyKnown
    return added


async def use(
    db: AsyncSession, parts: Parts, shown: Assertion, to_sign: bytes, user_id: UUID | None = None
) -> tuple[UUID, list[str]]:
    """Tell who has shown a passkey, and how it is kept (`hwk` or `swk`, RFC 8176); raises FactorRefused.

    Without `user_id` the passkey itself has to say whose it is.
    """
    passkey = await db.scalar(
        select(Passkey).where(Passkey.credential_id == base64url_to_bytes(shown.raw_id))
    )
    if passkey is None or user_id not in {None, passkey.user_id}:
        raise FactorRefused
    handle = shown.response.user_handle
    if (user_id is None and not handle) or (handle and base64url_to_bytes(handle) != passkey.user_id.bytes):
        raise FactorRefused
    verified = judged(
        lambda: webauthn.verify_authentication_response(
            credential=shown.model_dump(by_alias=True, exclude_none=True),
            expected_challenge=to_sign,
            expected_rp_id=rp_id(parts.settings),
            expected_origin=parts.settings.passkey_origins,
            credential_public_key=passkey.public_key,
            # Compared below, in one statement and with an alarm of its own.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    )
    if verified is None:
        raise FactorRefused
    await users.hold_person(db, passkey.user_id)
    await count_on(db, passkey, verified.new_sign_count)
    return passkey.user_id, ways(verified.credential_device_type)


def ways(kept_on: CredentialDeviceType) -> list[str]:
    """Say what a passkey proves: a key in hardware, or one that is copied between devices, and its person."""
    return ["swk" if kept_on is CredentialDeviceType.MULTI_DEVICE else "hwk", "user", "mfa"]


async def count_on(db: AsyncSession, passkey: Passkey, signed: int) -> None:
    """Keep how often a passkey has signed (WebAuthn section 7.2, step 22); raises FactorRefused.

    One that has not signed more often than before is a copy, unless it never counts at all.
    """
    never = (Passkey.sign_count == 0) & (signed == 0)
    counted = await db.scalar(
        update(Passkey)
        .where(Passkey.id == passkey.id, or_(Passkey.sign_count < signed, never))
        .values(sign_count=signed, last_used_at=func.now())
        .returning(Passkey.id)
        .execution_options(synchronize_session=False)
    )
    if counted is None:
        raise FactorRefused(cloned=passkey.id)


async def of(db: AsyncSession, user_id: UUID) -> list[Passkey]:
    """List somebody's passkeys, oldest first."""
    mine = select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.created_at, Passkey.id)
    return list((await db.scalars(mine)).all())


def judged(verify: Callable[[], T]) -> T | None:
    """Verify what a client sent; None when it is not right."""
    try:
        return verify()
    except Exception as error:
        # Whatever the library trips over in a stranger's bytes is their fault, and no error of ours.
        logger.info("passkey refused", extra={"error": type(error).__name__})
        return None


def described(known: list[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    """Name passkeys to a browser."""
    return [PublicKeyCredentialDescriptor(id=passkey.credential_id) for passkey in known]


def rp_id(settings: Settings) -> str:
    """Give the host that passkeys are for; raises PasskeysUnavailable."""
    if not settings.rp_id:
        raise PasskeysUnavailable
    return settings.rp_id


def plain(text: str) -> Options:
    """Give the library's JSON as an object."""
    read: Options = json.loads(text)
    return read
