"""Verify an email address, which decides whose registration becomes the account.

The link of a mail proves the mailbox. Who reads it may not be who signed up: anybody can sign up with the
address of another. So wherever several registrations wait, the password of the sign-up is required, too; the
registration that it belongs to is confirmed, whichever link was followed, and the others are removed.
"""

from collections.abc import Sequence

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, users
from auth.audit import Action
from auth.errors import InvalidEmailToken, InvalidSignUpPassword, SignUpPasswordRequired
from auth.models import EmailToken, Purpose, Status, User
from auth.schemas import Confirmation
from auth.services import AuthServices

CONFIRMABLE = (Status.PENDING, Status.ACTIVE)


async def verify(services: AuthServices, confirmation: Confirmation) -> None:
    """Verify the address that an email's token was sent to; a token that has verified it changes nothing.

    Raises InvalidEmailToken; or SignUpPasswordRequired or InvalidSignUpPassword, which leave the token good.
    """
    try:
        await redeem(services, confirmation)
    except InvalidEmailToken:
        if not await is_confirmed(services, confirmation):
            raise


async def is_confirmed(services: AuthServices, confirmation: Confirmation) -> bool:
    """Return whether the token has verified the address, and the password, if one is given, is the account's.

    Mail scanners open links, too, and then the person does.
    """
    token, password = confirmation.token.get_secret_value(), confirmation.password
    async with services.database.begin() as db:
        user = await services.email_tokens.redeemed_by(db, token, Purpose.EMAIL_VERIFICATION)
    if user is None or password is None:
        return user is not None
    return await services.passwords.verify(password.get_secret_value(), user.password_hash)


async def redeem(services: AuthServices, confirmation: Confirmation) -> None:
    """Redeem the token of an email, and activate the registration that is chosen; raises as `verify` does."""
    token = confirmation.token.get_secret_value()
    async with services.database.begin() as db:
        owner = await services.email_tokens.owner(db, token, Purpose.EMAIL_VERIFICATION)
        waiting = await list_registrations(db, owner) if owner else []
    registration = await choose(services, waiting, confirmation.password)
    async with services.database.begin() as db:
        await users.lock_email(db, registration.email_key)
        if await services.email_tokens.redeem(db, token, Purpose.EMAIL_VERIFICATION) is None:
            raise InvalidEmailToken
        if confirmation.password is None and len(await list_registrations(db, registration)) > 1:
            raise SignUpPasswordRequired
        await services.email_tokens.reassign(db, token, registration)
        await activate(db, services, registration)


async def list_registrations(db: AsyncSession, owner: User) -> Sequence[User]:
    """Return what a link of `owner` may confirm: that registration, then the others of the address.

    Nothing, if the address has another account by now.
    """
    everything = (await db.scalars(users.select_by_email(owner.email_key))).all()
    if owner.status is not Status.PENDING:
        return [owner] if owner.status in CONFIRMABLE else []
    if everything[0].status is not Status.PENDING:
        return []
    return sorted(everything, key=lambda one: one.id != owner.id)


async def choose(services: AuthServices, waiting: Sequence[User], password: SecretStr | None) -> User:
    """Return the registration that is to be confirmed, by its password where one is given."""
    if not waiting:
        raise InvalidEmailToken
    if password is None:
        if len(waiting) > 1:
            raise SignUpPasswordRequired
        return waiting[0]
    for one in waiting:
        if await services.passwords.verify(password.get_secret_value(), one.password_hash):
            return one
    raise InvalidSignUpPassword


async def activate(db: AsyncSession, services: AuthServices, registration: User) -> None:
    """Confirm a registration, void its links, and remove others of the address; raises InvalidEmailToken."""
    same = (
        User.id == registration.id,
        User.email_key == registration.email_key,
        User.status.in_(CONFIRMABLE),
    )
    locked = select(User).where(*same).with_for_update().execution_options(populate_existing=True)
    user = await db.scalar(locked)
    if user is None:
        raise InvalidEmailToken
    users.mark_verified(user)
    await db.flush()
    await services.email_tokens.invalidate(db, user, EmailToken.purpose == Purpose.EMAIL_VERIFICATION)
    await users.delete_unverified(db, user.email_key)
    tenant = await users.first_tenant(db, user)
    audit.record(db, Action.EMAIL_VERIFIED, tenant_id=tenant.id if tenant else None, subject=user.subject)
