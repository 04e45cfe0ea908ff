"""Sign in by a link in an email: single-use, for ten minutes, in the browser that requested it.

It replaces the password, never the second factor.
"""

import secrets

from servicekit.auth import jose
from servicekit.errors import Unauthenticated
from sqlalchemy.ext.asyncio import AsyncSession

from auth import emails, users
from auth.email_address import canonical_email
from auth.errors import InvalidEmailToken
from auth.events import EmailKind
from auth.factors.errors import MagicLinksDisabled
from auth.factors.schemas import MagicLink
from auth.mfa import challenge_flow
from auth.models import Purpose
from auth.schemas import TokenResponse
from auth.security.constant_time import minimum_duration
from auth.services import AuthServices
from auth.sessions import sessions
from auth.users import Access

BINDING_BYTES = 32
# RFC 8176 has no word for a link in a mail.
AMR = ["email"]


async def send(services: AuthServices, email: str) -> str:
    """Send a link if the address has an account; always return what binds it to the browser."""
    if not services.settings.auth_magic_link_enabled:
        raise MagicLinksDisabled
    binding = jose.encode(secrets.token_bytes(BINDING_BYTES))
    async with minimum_duration(services.settings.answer_floor):
        # Where it is too often, nobody is told: it would show that others ask for links of this mailbox.
        if await services.rates.try_acquire("magic-link", canonical_email(email)):
            await send_email(services, email, binding)
    return binding


async def send_email(services: AuthServices, email: str, binding: str) -> None:
    """Request the email if the address has an account that can sign in."""
    async with services.database.begin() as db:
        user = await users.get_for_update(db, email)
        if user and await sessions.get_access(db, services, user.id, None):
            issued = await services.email_tokens.issue(db, user, Purpose.MAGIC_LINK, bound_to=binding)
            emails.request_email(
                db, services, EmailKind.MAGIC_LINK, emails.Recipient.from_user(user), issued=issued
            )


async def verify(services: AuthServices, link: MagicLink) -> TokenResponse:
    """Begin a session; raises InvalidEmailToken, or what `challenge_flow.sign_in_or_challenge` returns."""
    if not services.settings.auth_magic_link_enabled:
        raise MagicLinksDisabled
    async with services.database.begin() as db:
        access = await redeem(db, services, link)
        outcome = await challenge_flow.sign_in_or_challenge(db, services, access, AMR, device=link.device)
    if isinstance(outcome, Unauthenticated):
        raise outcome
    return outcome


async def redeem(db: AsyncSession, services: AuthServices, link: MagicLink) -> Access:
    """Consume a link, and return its user's access; raises InvalidEmailToken."""
    token, binding = link.token.get_secret_value(), link.binding.get_secret_value()
    redeemed = await services.email_tokens.redeem(db, token, Purpose.MAGIC_LINK, bound_to=binding)
    if redeemed is None:
        raise InvalidEmailToken
    user_id, email_key = redeemed
    access = await sessions.get_access(db, services, user_id, link.tenant_id)
    # An address that was changed meanwhile opens nothing any more.
    if access is None or access.user.email_key != email_key:
        raise InvalidEmailToken
    return access
