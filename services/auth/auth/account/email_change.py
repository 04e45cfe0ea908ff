"""Changing the address of an account: the new one is confirmed first, and the old one is told of it."""

from servicekit.auth.tokens import Principal
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from auth import audit, emails, users
from auth.access import signup_policy
from auth.account.passwords import others_out
from auth.account.reauthentication import by, present, prove
from auth.account.schemas import EmailChange
from auth.email_address import key_of
from auth.errors import EmailTokenInvalid
from auth.events import MailKind
from auth.models import Purpose, Status, User
from auth.security.constant_time import at_least
from auth.services import Parts


async def ask(parts: Parts, caller: Principal, wanted: EmailChange) -> None:
    """Have the new address confirmed; nobody is told whether it has an account.

    Raises EmailDomainNotAllowed, or as `prove` does.
    """
    signup_policy.check_domain(parts, wanted.new_email)
    await prove(parts, caller, wanted.password.get_secret_value())
    new_key = key_of(wanted.new_email)
    async with at_least(parts.settings.answer_floor):
        if not await parts.rates.may_mail(new_key):
            return
        async with parts.database.begin() as db:
            user = await held(db, (await present(db, caller)).id)
            if user and await is_free(db, wanted.new_email, user):
                user.new_email = wanted.new_email
                fresh = await parts.email_tokens.issue(db, user, Purpose.EMAIL_CHANGE, email_key=new_key)
                to = emails.Recipient(user.subject, wanted.new_email, user.display_name)
                emails.send(db, parts, MailKind.EMAIL_CHANGE, to, fresh=fresh)
                audit.record(db, audit.Action.EMAIL_CHANGE_REQUESTED, **by(caller))


async def confirm(parts: Parts, token: str) -> None:
    """Take the address that a token was sent to; all sessions end. Raises EmailTokenInvalid."""
    try:
        async with parts.database.begin() as db:
            await take(db, parts, token)
    except IntegrityError:
        # Somebody else has taken it at the very same moment. Its message would quote the address.
        raise EmailTokenInvalid from None


async def take(db: AsyncSession, parts: Parts, token: str) -> None:
    """Use a token up, and give its owner the address that it was sent to; raises EmailTokenInvalid."""
    used = await parts.email_tokens.redeem(db, token, Purpose.EMAIL_CHANGE)
    user = await held(db, used[0]) if used else None
    new_email = user.new_email if user else None
    if not used or not user or not new_email or key_of(new_email) != used[1]:
        raise EmailTokenInvalid
    other = await users.hold(db, new_email)
    if other and other.id != user.id and other.status is not Status.PENDING:
        raise EmailTokenInvalid
    # What was never confirmed gives way.
    await users.discard_pending(db, key_of(new_email))
    before = emails.Recipient.of(user)
    user.email, user.email_key = new_email, key_of(new_email)
    users.confirm(user)
    await others_out(db, parts, user)
    emails.send(db, parts, MailKind.EMAIL_CHANGED, before, new_email_masked=masked(new_email))
    audit.record(db, audit.Action.EMAIL_CHANGED, actor=user.subject)


async def held(db: AsyncSession, user_id: object) -> User | None:
    """Give an account that is in use, and keep others from changing it meanwhile."""
    active = select(User).where(User.id == user_id, User.status == Status.ACTIVE)
    found: User | None = await db.scalar(active.with_for_update().execution_options(populate_existing=True))
    return found


async def is_free(db: AsyncSession, email: str, wanted_by: User) -> bool:
    """Tell whether somebody may have an address: nobody else has it who has ever confirmed it."""
    other = await users.find(db, email)
    return other is None or other.id == wanted_by.id or other.status is Status.PENDING


def masked(email: str) -> str:
    """Show of an address what its owner knows it by, and others do not."""
    local, _, domain = email.rpartition("@")
    return f"{local[0]}***@{domain}"
