"""The tokens of invites: `<id>.<secret>`, known by a keyed digest alone."""

import hmac
import re
import secrets
from uuid import UUID

from servicekit.auth import jose

from auth.configuration.types import Keys
from auth.models import Invite
from auth.security.keyed_hash import keyed_hash

SECRET_BYTES = 32
FORMAT = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})")
# The same pepper as other mails' tokens, put to another use: none passes for another.
USE = "invite"


def issue(peppers: Keys, invite: Invite) -> str:
    """Issue a new token for an invite; the previous one becomes invalid."""
    secret = jose.encode(secrets.token_bytes(SECRET_BYTES))
    invite.digest = keyed_hash(peppers[0], USE, invite.id.bytes, secret)
    return f"{invite.id.hex}.{secret}"


def parse_id(token: str) -> UUID | None:
    """Read which invite a token is of, if it is one."""
    match = FORMAT.fullmatch(token)
    return UUID(match[1]) if match else None


def matches(peppers: Keys, invite: Invite, token: str) -> bool:
    """Return whether a token is the one of an invite."""
    match = FORMAT.fullmatch(token)
    secret = match[2] if match else ""
    known_by = [keyed_hash(pepper, USE, invite.id.bytes, secret) for pepper in peppers]
    fits = [hmac.compare_digest(invite.digest, one) for one in known_by]
    return any(fits)
