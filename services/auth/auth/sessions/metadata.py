"""What a session's owner is shown of where it came from: sealed, each for its own session alone."""

import logging
from typing import Any
from uuid import UUID

from pydantic import BaseModel, SecretStr
from servicekit.client_ip import mask_ip
from servicekit.encryption import DecryptionFailed, decrypt, encrypt
from ua_parser import parse_os, parse_user_agent

from auth.client_info import Origin
from auth.security.geoip import Places, Spot
from auth.security.keyed_hash import digest
from auth.settings import Settings

logger = logging.getLogger(__name__)

UNKNOWN = "Unknown device"
LONGEST_NAME = 64


class SessionOrigin(BaseModel):
    """A device, and about where it was when the session began; `spot` is never shown."""

    device: str
    address: str | None = None
    place: str | None = None
    spot: Spot | None = None

    def facts(self) -> dict[str, Any]:
        """Give what a letter may tell of it."""
        return self.model_dump(exclude={"spot"}, exclude_none=True)


def describe(where: Origin | None, places: Places) -> SessionOrigin:
    """Describe where a request comes from, in no more detail than its owner needs to recognise it."""
    if where is None:
        return SessionOrigin(device=UNKNOWN)
    return SessionOrigin(
        device=device_name(where.user_agent),
        address=mask_ip(where.address),
        place=places.find(where.address),
        spot=places.spot(where.address),
    )


def device_name(user_agent: str | None) -> str:
    """Read the name of a device from what a client calls itself: `Firefox on Windows`."""
    if not user_agent:
        return UNKNOWN
    browser, system = parse_user_agent(user_agent), parse_os(user_agent)
    names = [found.family for found in (browser, system) if found]
    return " on ".join(name[:LONGEST_NAME] for name in names if name.isprintable()) or UNKNOWN


def sealed(settings: Settings, session_id: UUID, described: SessionOrigin) -> str:
    """Seal a description for its session; begins with the id of the key."""
    key = settings.auth_session_encryption_key
    return f"{key_id(key)}:{encrypt(key, described.model_dump_json(), context=context(session_id))}"


def opened(settings: Settings, session_id: UUID, kept: str | None) -> SessionOrigin:
    """Open what was sealed for a session; what cannot be opened is an unknown device."""
    used, _, text = (kept or "").partition(":")
    for key in settings.session_keys:
        if key_id(key) == used:
            try:
                plain = decrypt(key, text, context=context(session_id))
            except DecryptionFailed:
                logger.warning("seal of a session is broken", extra={"session": str(session_id)})
                break
            return SessionOrigin.model_validate_json(plain)
    return SessionOrigin(device=UNKNOWN)


def key_id(key: SecretStr) -> str:
    """Name a key without telling it."""
    return digest(key, "key id").hex()[:8]


def context(session_id: UUID) -> str:
    """Name the one place where a seal opens."""
    return f"auth.session:{session_id}"
