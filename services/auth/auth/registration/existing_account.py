"""Answer, by email alone, a sign-up with an address that has an account."""

from sqlalchemy.ext.asyncio import AsyncSession

from auth.account.deletion import send_restore_email
from auth.emails import Recipient, request_email
from auth.events import EmailKind
from auth.models import Status, User
from auth.services import AuthServices


async def notify(db: AsyncSession, services: AuthServices, user: User) -> None:
    """Notify the owner of a locked account what to do instead; one that is closed can be restored.

    Nothing, where an operator has disabled it.
    """
    if user.status is Status.CLOSING:
        await send_restore_email(db, services, user)
    elif user.status is Status.ACTIVE:
        request_email(db, services, EmailKind.ACCOUNT_EXISTS, Recipient.from_user(user))
