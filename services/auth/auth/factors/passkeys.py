"""Passkeys (WebAuthn level 3): bound to our host, and two factors in one, device and person."""

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
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
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
from auth.factors.challenges import TTL
from auth.factors.errors import (
    InvalidFactor,
    InvalidPasskey,
    PasskeyAlreadyExists,
    PasskeysDisabled,
    TooManyPasskeys,
)
from auth.factors.schemas import Assertion, NewPasskey
from auth.models import Passkey, User
from auth.services import AuthServices
from auth.settings import Settings

T = TypeVar("T")
Options = dict[str, JsonValue]

logger = logging.getLogger(__name__)

RP_NAME = "Acme"
MAX_PASSKEYS = 20
TIMEOUT_MS = int(TTL.total_seconds() * 1000)


async def registration_options(
    db: AsyncSession, services: AuthServices, user: User, to_sign: bytes
) -> Options:
    """Return what a browser needs to make a passkey; raises PasskeysDisabled or TooManyPasskeys."""
    passkeys = await list_for_user(db, user.id)
    if len(passkeys) >= MAX_PASSKEYS:
        raise TooManyPasskeys
    options = webauthn.generate_registration_options(
        rp_id=rp_id(services.settings),
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
        exclude_credentials=descriptors(passkeys),
    )
    return parse_options(webauthn.options_to_json(options))


def authentication_options(services: AuthServices, to_sign: bytes, passkeys: list[Passkey]) -> Options:
    """Return the options to use a passkey: one of those known for the user, or any."""
    options = webauthn.generate_authentication_options(
        rp_id=rp_id(services.settings),
        challenge=to_sign,
        timeout=TIMEOUT_MS,
        allow_credentials=descriptors(passkeys) or None,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return parse_options(webauthn.options_to_json(options))


@dataclass(frozen=True)
class VerifiedPasskey:
    """A verified passkey that is not stored yet, and its name."""

    name: str
    verified: VerifiedRegistration

    @property
    def amr(self) -> list[str]:
        """The methods that its registration has proved (RFC 8176)."""
        return amr_of(self.verified.credential_device_type)


def verify_registration(services: AuthServices, request: NewPasskey, to_sign: bytes) -> VerifiedPasskey:
    """Verify a passkey that a browser has created; raises InvalidPasskey or PasskeysDisabled."""
    settings = services.settings
    verified = verified_or_none(
        lambda: webauthn.verify_registration_response(
            credential=request.passkey.model_dump(by_alias=True, exclude_none=True),
            expected_challenge=to_sign,
            expected_rp_id=rp_id(settings),
            expected_origin=settings.passkey_origins,
            require_user_verification=True,
        )
    )
    if verified is None:
        raise InvalidPasskey
    return VerifiedPasskey(request.name, verified)


async def register(db: AsyncSession, user: User, checked: VerifiedPasskey) -> Passkey:
    """Store a passkey that was verified; raises PasskeyAlreadyExists."""
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
        raise PasskeyAlreadyExists
    return added


async def authenticate(
    db: AsyncSession,
    services: AuthServices,
    assertion: Assertion,
    to_sign: bytes,
    user_id: UUID | None = None,
) -> tuple[UUID, list[str]]:
    """Verify a passkey; return its user and methods (`hwk` or `swk`, RFC 8176). Raises InvalidFactor.

    Without `user_id` the passkey must contain a user handle.
    """
    known = select(Passkey).where(Passkey.credential_id == base64url_to_bytes(assertion.raw_id))
    passkey = await db.scalar(known)
    if passkey is None or not is_for_user(passkey, assertion, user_id):
        raise InvalidFactor
    verified = verify_assertion(services.settings, passkey, assertion, to_sign)
    if verified is None:
        raise InvalidFactor
    await users.lock_user(db, passkey.user_id)
    await update_sign_count(db, passkey, verified.new_sign_count)
    return passkey.user_id, amr_of(verified.credential_device_type)


def is_for_user(passkey: Passkey, assertion: Assertion, user_id: UUID | None) -> bool:
    """Return whether a passkey is the user's, or the one of the user whom the assertion names."""
    if user_id not in {None, passkey.user_id}:
        return False
    handle = assertion.response.user_handle
    return base64url_to_bytes(handle) == passkey.user_id.bytes if handle else user_id is not None


def verify_assertion(
    settings: Settings, passkey: Passkey, assertion: Assertion, to_sign: bytes
) -> VerifiedAuthentication | None:
    """Verify what a passkey has signed; return None if it is not valid."""
    return verified_or_none(
        lambda: webauthn.verify_authentication_response(
            credential=assertion.model_dump(by_alias=True, exclude_none=True),
            expected_challenge=to_sign,
            expected_rp_id=rp_id(settings),
            expected_origin=settings.passkey_origins,
            credential_public_key=passkey.public_key,
            # Compared below, in one statement and with an alarm of its own.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    )


def amr_of(device_type: CredentialDeviceType) -> list[str]:
    """Return the methods of a passkey (RFC 8176): hardware or synced key, and user verification."""
    return ["swk" if device_type is CredentialDeviceType.MULTI_DEVICE else "hwk", "user", "mfa"]


async def update_sign_count(db: AsyncSession, passkey: Passkey, signed: int) -> None:
    """Store the signature counter of a passkey (WebAuthn section 7.2, step 22); raises InvalidFactor.

    A counter that has not increased means a cloned passkey, unless it is always 0.
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
        raise InvalidFactor(cloned=passkey.id)


async def list_for_user(db: AsyncSession, user_id: UUID) -> list[Passkey]:
    """List a user's passkeys, oldest first."""
    mine = select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.created_at, Passkey.id)
    return list((await db.scalars(mine)).all())


def verified_or_none(verify: Callable[[], T]) -> T | None:
    """Verify a credential of a client; return None when it is invalid."""
    try:
        return verify()
    except Exception as error:
        # Whatever the library trips over in a stranger's bytes is their fault, and no error of ours.
        logger.info("passkey refused", extra={"error": type(error).__name__})
        return None


def descriptors(passkeys: list[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    """Return the descriptors of passkeys for a browser."""
    return [PublicKeyCredentialDescriptor(id=passkey.credential_id) for passkey in passkeys]


def rp_id(settings: Settings) -> str:
    """Return the host that passkeys are for; raises PasskeysDisabled."""
    if not settings.rp_id:
        raise PasskeysDisabled
    return settings.rp_id


def parse_options(text: str) -> Options:
    """Return the library's JSON as an object."""
    read: Options = json.loads(text)
    return read
