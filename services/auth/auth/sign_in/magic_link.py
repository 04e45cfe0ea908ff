"""Signing in by a link in a mail: good once, for ten minutes, in the browser that asked for it.

It stands for the password and never for a second factor: a mailbox is one more thing that a password opens.
"""

import secrets

from servicekit.auth import jose
from servicekit.errors import Unauthenticated
from sqlalchemy import select

from auth import emails, users
from auth.email_address import key_of
from auth.errors import EmailTokenInvalid
from auth.events import MailKind
from auth.factors.errors import MagicLinksDisabled
from auth.factors.schemas import MagicLink
from auth.mfa import challenge_flow
from auth.models import Purpose, User
from auth.schemas import SessionBundle
from auth.security.constant_time import at_least
from auth.services import Parts
from auth.sessions import sessions

BINDING_BYTES = 32
# RFC 8176 has no word for a link in a mail.
AMR = ["email"]


async def send(parts: Parts, email: str) -> str:
    """Send a link, if somebody may come in by it; gives what binds it to whoever asked, in any case."""
    if not parts.settings.auth_magic_link_enabled:
        raise MagicLinksDisabled
    binding = jose.encode(secrets.token_bytes(BINDING_BYTES))
    async with at_least(parts.settings.answer_floor):
        # Where it is too often, nobody is told: it would show that others ask for links of this mailbox.
        if await parts.rates.may("magic-link", key_of(email)):
            await mail(parts, email, binding)
    return binding


async def mail(parts: Parts, email: str, binding: str) -> None:
    """Have the mail sent, if there is somebody who may come in by it."""
    async with parts.database.begin() as db:
        user = await users.hold(db, email)
        if user and await sessions.entering(db, parts, user.id, None):
            fresh = await parts.email_tokens.issue(db, user, Purpose.MAGIC_LINK, bound_to=binding)
            emails.send(db, parts, MailKind.MAGIC_LINK, emails.Recipient.of(user), fresh=fresh)


async def verify(parts: Parts, link: MagicLink) -> SessionBundle:
    """Begin a session; raises EmailTokenInvalid, or what `second_factor.enter` gives."""
    if not parts.settings.auth_magic_link_enabled:
        raise MagicLinksDisabled
    async with parts.database.begin() as db:
        redeemed = await parts.email_tokens.redeem(
            db,
            link.token.get_secret_value(),
            Purpose.MAGIC_LINK,
            bound_to=link.binding.get_secret_value(),
        )
        if redeemed is None:
            raise EmailTokenInvalid
        user_id, email_key = redeemed
        standing = await sessions.entering(db, parts, user_id, link.tenant_id)
        # An address that was changed meanwhile opens nothing any more.
        if standing is None or not await db.scalar(
            select(User.id).where(User.id == user_id, User.email_key == email_key)
        ):
            raise EmailTokenInvalid
        outcome = await challenge_flow.enter(db, parts, standing, AMR, device=link.device)
    if isinstance(outcome, Unauthenticated):
        raise outcome
    return outcome
