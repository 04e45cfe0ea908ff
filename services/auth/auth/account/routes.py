"""The routes of one's own account."""

from typing import Annotated

from fastapi import Response, status
from servicekit.auth.dependencies import Caller, public
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db

from auth.access.sensitive_actions import SensitiveAction
from auth.account import deletion, email_change, export, password_change, password_reset, profile, schemas
from auth.routing import auth_router
from auth.schemas import Accepted, EmailTokenBody, Me
from auth.security.rate_limits import rate_limited
from auth.services import Services
from auth.sessions.authorization import sensitive

router = auth_router("account")


@router.post(
    "/password/forgot",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[public, rate_limited("password/forgot")],
)
async def request_password_reset(request: schemas.ForgottenPassword, services: Services) -> Accepted:
    """Request an email to set a new password; the link of the previous one becomes invalid."""
    await password_reset.request_reset(services, request.email)
    return Accepted()


@router.post(
    "/password/reset",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[public, rate_limited("password/reset")],
)
async def reset_password(request: schemas.PasswordReset, services: Services) -> None:
    """Set a new password with the token of the email; ends all sessions and begins none."""
    await password_reset.reset(
        services, request.token.get_secret_value(), request.password.get_secret_value()
    )


@router.post("/password/change", status_code=status.HTTP_204_NO_CONTENT, dependencies=[rate_limited("token")])
async def change_password(
    request: schemas.PasswordChange,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_PASSWORD)],
    services: Services,
) -> None:
    """Change one's password by means of the current one; ends all other sessions."""
    await password_change.change(services, caller, request)


@router.post("/email/change", status_code=status.HTTP_202_ACCEPTED, dependencies=[rate_limited("token")])
async def request_email_change(
    request: schemas.EmailChange,
    caller: Annotated[Principal, sensitive(SensitiveAction.CHANGE_EMAIL)],
    services: Services,
) -> Accepted:
    """Request a change of the email address; the old one stays until the new one is verified."""
    await email_change.request_change(services, caller, request)
    return Accepted()


@router.post("/email/change/confirm", dependencies=[public, rate_limited("email/verify")])
async def confirm_email_change(mail: EmailTokenBody, services: Services) -> schemas.EmailChanged:
    """Confirm the new address with the token that was sent to it; ends all sessions."""
    await email_change.confirm(services, mail.token.get_secret_value())
    return schemas.EmailChanged()


@router.patch("/me")
async def change_profile(request: schemas.Profile, caller: Caller, db: Db) -> Me:
    """Change one's profile."""
    return await profile.rename(db, caller, request)


@router.post("/account/delete", status_code=status.HTTP_204_NO_CONTENT, dependencies=[rate_limited("token")])
async def delete_account(
    request: schemas.DeleteAccount,
    caller: Annotated[Principal, sensitive(SensitiveAction.DELETE_ACCOUNT)],
    services: Services,
) -> None:
    """Delete the account: it is deactivated at once, and erased after the grace period.

    Until then the link in the email restores it. Tenants without another member are deleted as well.
    """
    await deletion.delete_account(services, caller, request.password.get_secret_value())


@router.post(
    "/account/restore",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[public, rate_limited("account/restore")],
)
async def restore_account(mail: EmailTokenBody, services: Services) -> None:
    """Restore a closed account with the token of the email; begins no session."""
    await deletion.restore(services, mail.token.get_secret_value())


@router.get("/account/export")
async def export_account(caller: Caller, db: Db, services: Services, response: Response) -> schemas.Export:
    """Return all data of the caller, as a file."""
    response.headers["Content-Disposition"] = 'attachment; filename="account.json"'
    return await export.export(db, services.settings, caller)
