"""The metadata of a session that its owner sees, encrypted for that session."""

import logging
from typing import Any
from uuid import UUID

from pydantic import BaseModel, SecretStr
from servicekit.client_ip import mask_ip
from servicekit.encryption import DecryptionFailed, decrypt, encrypt
from ua_parser import parse_os, parse_user_agent

from auth.client_info import ClientInfo
from auth.security.geoip import GeoIp, Location
from auth.security.keyed_hash import keyed_hash
from auth.settings import Settings

logger = logging.getLogger(__name__)

UNKNOWN = "Unknown device"
MAX_NAME = 64


class SessionMetadata(BaseModel):
    """A device, and its approximate place when the session began; `spot` is not shown."""

    device: str
    address: str | None = None
    place: str | None = None
    spot: Location | None = None

    def facts(self) -> dict[str, Any]:
        """Return what an email may say of it."""
        return self.model_dump(exclude={"spot"}, exclude_none=True)


def from_client(where: ClientInfo | None, places: GeoIp) -> SessionMetadata:
    """Describe where a request comes from, in no more detail than its owner needs to recognise it."""
    if where is None:
        return SessionMetadata(device=UNKNOWN)
    return SessionMetadata(
        device=device_name(where.user_agent),
        address=mask_ip(where.address),
        place=places.place_name(where.address),
        spot=places.location(where.address),
    )


def device_name(user_agent: str | None) -> str:
    """Read the name of a device from what a client calls itself: `Firefox on Windows`."""
    if not user_agent:
        return UNKNOWN
    browser, system = parse_user_agent(user_agent), parse_os(user_agent)
    names = [agent.family for agent in (browser, system) if agent]
    return " on ".join(name[:MAX_NAME] for name in names if name.isprintable()) or UNKNOWN


def encrypt_for(settings: Settings, session_id: UUID, described: SessionMetadata) -> str:
    """Encrypt metadata for its session; the result begins with the id of the key."""
    key = settings.auth_session_encryption_key.current
    return (
        f"{key_id(key)}:{encrypt(key, described.model_dump_json(), context=encryption_context(session_id))}"
    )


def decrypt_for(settings: Settings, session_id: UUID, stored: str | None) -> SessionMetadata:
    """Decrypt the metadata of a session; if that fails, return an unknown device."""
    used, _, text = (stored or "").partition(":")
    for key in settings.session_keys:
        if key_id(key) == used:
            try:
                plain = decrypt(key, text, context=encryption_context(session_id))
            except DecryptionFailed:
                logger.warning("seal of a session is broken", extra={"session": str(session_id)})
                break
            return SessionMetadata.model_validate_json(plain)
    return SessionMetadata(device=UNKNOWN)


def key_id(key: SecretStr) -> str:
    """Return the id of a key."""
    return keyed_hash(key, "key id").hex()[:8]


def encryption_context(session_id: UUID) -> str:
    """Return the AEAD context of a session's metadata."""
    return f"auth.session:{session_id}"
