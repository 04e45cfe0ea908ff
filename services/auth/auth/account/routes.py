"""The addresses of one's own account."""

from fastapi import APIRouter, Depends, status
from servicekit.auth import Caller, public

from auth.account import password_change, password_reset, schemas
from auth.manners import no_store
from auth.origin import origin
from auth.parts import PartsOfAuth
from auth.rates import limited
from auth.schemas import Accepted

account_api = APIRouter(
    prefix="/api/v1/auth", tags=["account"], dependencies=[Depends(no_store), Depends(origin)]
)


@account_api.post(
    "/password/forgot",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[public, limited("password/forgot")],
)
async def ask_for_new_password(asked: schemas.ForgottenPassword, parts: PartsOfAuth) -> Accepted:
    """Have a mail sent with which a new password can be set; the link of the one before is void."""
    await password_reset.forgot(parts, asked.email)
    return Accepted()


@account_api.post(
    "/password/reset",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[public, limited("password/reset")],
)
async def set_forgotten_password(wanted: schemas.PasswordReset, parts: PartsOfAuth) -> None:
    """Set a new password with the token of the mail; ends all sessions and begins none."""
    await password_reset.reset(parts, wanted.token.get_secret_value(), wanted.password.get_secret_value())


@account_api.post("/password/change", status_code=status.HTTP_204_NO_CONTENT, dependencies=[limited("token")])
async def change_password(wanted: schemas.PasswordChange, caller: Caller, parts: PartsOfAuth) -> None:
    """Change one's password, knowing the present one; all other sessions end."""
    await password_change.change(parts, caller, wanted)
