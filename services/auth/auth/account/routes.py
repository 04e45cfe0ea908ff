"""The addresses of one's own account."""

from typing import Annotated

from fastapi import Response, status
from servicekit.auth.dependencies import Caller, public
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from auth.access.sensitive_actions import SensitiveAction
from auth.account import deletion, email_change, export, password_change, password_reset, profile, schemas
from auth.routing import auth_router
from auth.schemas import Accepted, MailToken, Me
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sessions.authorization import sensitive

router = auth_router("account")


@router.post(
    "/password/forgot",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[public, limited("password/forgot")],
)
async def ask_for_new_password(asked: schemas.ForgottenPassword, parts: PartsOfAuth) -> Accepted:
    """Have a mail sent with which a new password can be set; the link of the one before is void."""
    await password_reset.forgot(parts, asked.email)
    return Accepted()


@router.post(
    "/password/reset",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[public, limited("password/reset")],
)
async def set_forgotten_password(wanted: schemas.PasswordReset, parts: PartsOfAuth) -> None:
    """Set a new password with the token of the mail; ends all sessions and begins none."""
    await password_reset.reset(parts, wanted.token.get_secret_value(), wanted.password.get_secret_value())


@router.post("/password/change", status_code=status.HTTP_204_NO_CONTENT, dependencies=[limited("token")])
async def change_password(
    wanted: schemas.PasswordChange,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_PASSWORD)],
    parts: PartsOfAuth,
) -> None:
    """Change one's password, knowing the present one; all other sessions end."""
    await password_change.change(parts, caller, wanted)


@router.post("/email/change", status_code=status.HTTP_202_ACCEPTED, dependencies=[limited("token")])
async def ask_for_other_address(
    wanted: schemas.EmailChange,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_EMAIL)],
    parts: PartsOfAuth,
) -> Accepted:
    """Have the address confirmed that one wants to use; until then the old one stays."""
    await email_change.ask(parts, caller, wanted)
    return Accepted()


@router.post("/email/change/confirm", dependencies=[public, limited("email/verify")])
async def take_other_address(mail: MailToken, parts: PartsOfAuth) -> schemas.EmailChanged:
    """Use the new address from now on, with the token that was sent to it; ends all sessions."""
    await email_change.confirm(parts, mail.token.get_secret_value())
    return schemas.EmailChanged()


@router.patch("/me")
async def change_profile(wanted: schemas.Profile, caller: Caller, session: Session) -> Me:
    """Change what one says of oneself."""
    return await profile.rename(session, caller, wanted)


@router.post("/account/delete", status_code=status.HTTP_204_NO_CONTENT, dependencies=[limited("token")])
async def leave(
    wanted: schemas.Farewell,
    caller: Annotated[Principal, sensitive(SensitiveAction.DELETE_ACCOUNT)],
    parts: PartsOfAuth,
) -> None:
    """Leave: the account is closed at once, and erased when the time to think again is over.

    Until then the link of the letter opens it again. The tenants that nobody else is in go with it.
    """
    await deletion.delete_account(parts, caller, wanted.password.get_secret_value())


@router.post(
    "/account/restore",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[public, limited("account/restore")],
)
async def come_back(mail: MailToken, parts: PartsOfAuth) -> None:
    """Open a closed account again, with the token of the letter; begins no session."""
    await deletion.restore(parts, mail.token.get_secret_value())


@router.get("/account/export")
async def give_all_of_mine(
    caller: Caller, session: Session, parts: PartsOfAuth, response: Response
) -> schemas.Export:
    """Give all that auth holds of the caller, as a file."""
    response.headers["Content-Disposition"] = 'attachment; filename="account.json"'
    return await export.export(session, parts.settings, caller)
