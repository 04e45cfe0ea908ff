"""The addresses of auth."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Header, Response, status
from fastapi.responses import JSONResponse
from servicekit import schemas as wire
from servicekit.auth.dependencies import Caller, public
from servicekit.auth.permissions import PERMISSIONS
from servicekit.auth.tokens import ALGORITHM, Principal
from servicekit.database import Session

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.client_info import origin
from auth.email_address import key_of
from auth.errors import UnsupportedGrantType
from auth.oauth import internal_clients, jwks
from auth.registration import email_verification, registration
from auth.routing import no_store
from auth.security.rate_limits import limited
from auth.service_accounts.issuance import token_endpoint
from auth.services import PartsOfAuth
from auth.sessions import refresh, sessions
from auth.sessions.authorization import sensitive, sensitive_unless_own_session
from auth.sign_in import password

GRANT_TYPE = "client_credentials"


accounts_api = APIRouter(
    prefix="/api/v1/auth", tags=["auth"], dependencies=[Depends(no_store), Depends(origin)]
)
well_known = APIRouter(prefix="/.well-known", tags=["keys"], dependencies=[public])
machines_api = APIRouter(
    prefix="/internal/v1/oauth", tags=["machines"], dependencies=[public, Depends(no_store)]
)


@accounts_api.post(
    "/register", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, limited("register")]
)
async def sign_up(wanted: schemas.Registration, parts: PartsOfAuth) -> schemas.Accepted:
    """Sign up, with a tenant of one's own; what comes next is in the mail."""
    await registration.register(parts, wanted)
    return schemas.Accepted()


@accounts_api.post("/token", dependencies=[public, limited("token")])
async def begin_session(credentials: schemas.Credentials, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Sign in with address and password."""
    await parts.rates.of_subject("token", key_of(credentials.email))
    return await password.sign_in(parts, credentials)


@accounts_api.post("/refresh", dependencies=[public, limited("refresh")])
async def continue_session(held: schemas.Refreshing, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Exchange the refresh token for a new one, with a new access token."""
    token = held.refresh_token.get_secret_value()
    await parts.rates.of_subject("refresh", token)
    return await refresh.refresh(parts, token, held.device)


@accounts_api.post("/logout", status_code=status.HTTP_204_NO_CONTENT, dependencies=[public])
async def end_session(held: schemas.Refresh, parts: PartsOfAuth, session: Session) -> None:
    """End a session, known by its refresh token; also when it is over already."""
    await sessions.sign_out(session, parts, held.refresh_token.get_secret_value())


@accounts_api.post("/logout/all", status_code=status.HTTP_204_NO_CONTENT)
async def end_all_sessions(
    caller: Annotated[Principal, sensitive(SensitiveAction.END_ALL_SESSIONS)], session: Session
) -> None:
    """End all of one's sessions, on every device and in every tenant; needs a recent proof."""
    await sessions.sign_out_everywhere(session, caller)


@accounts_api.post("/logout/others", status_code=status.HTTP_204_NO_CONTENT)
async def end_other_sessions(
    caller: Annotated[Principal, sensitive(SensitiveAction.END_OTHER_SESSIONS)], session: Session
) -> None:
    """End all of one's sessions but this one; needs a recent proof."""
    await sessions.sign_out_others(session, caller)


@accounts_api.get("/sessions")
async def list_sessions(
    caller: Caller, session: Session, parts: PartsOfAuth
) -> wire.Page[schemas.KnownSession]:
    """List one's own sessions that go on, the last used first; there is one page of them."""
    return wire.Page(items=await sessions.list_own(session, parts, caller))


@accounts_api.delete("/sessions/{session_id}", status_code=status.HTTP_204_NO_CONTENT)
async def end_one_session(
    session_id: UUID,
    caller: Annotated[Principal, sensitive_unless_own_session(SensitiveAction.END_OTHER_SESSION)],
    session: Session,
) -> None:
    """End one of one's own sessions, on whatever device; a recent proof is needed for any but the current."""
    await sessions.end_one(session, caller, session_id)


@accounts_api.get("/me")
async def who_am_i(caller: Caller, session: Session) -> schemas.Me:
    """Tell who the token belongs to."""
    return await sessions.me(session, caller)


@accounts_api.post(
    "/email/send", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, limited("email/send")]
)
async def send_confirmation(asked: schemas.MailRequest, parts: PartsOfAuth) -> schemas.Accepted:
    """Send the confirming mail again; the link of the one before is void."""
    await registration.send_again(parts, asked.email)
    return schemas.Accepted()


@accounts_api.post("/email/verify", dependencies=[public, limited("email/verify")])
async def confirm_address(confirmation: schemas.Confirmation, parts: PartsOfAuth) -> schemas.EmailVerified:
    """Confirm an address with the token of its mail. No GET does: scanners of mail follow links.

    Send the password of the sign-up with it: a link alone also confirms what somebody else signed up with.
    Where several sign-ups of the address are waiting, the password is required, and chooses.
    """
    await email_verification.confirm(parts, confirmation)
    return schemas.EmailVerified()


@well_known.get(
    "/jwks.json",
    response_class=jwks.JwkSetResponse,
    response_model=schemas.JwkSet,
    responses={304: {"description": "The keys are those that the ETag names."}},
)
async def key_set(
    parts: PartsOfAuth, if_none_match: Annotated[list[str] | None, Header(include_in_schema=False)] = None
) -> Response:
    """Give the keys that access tokens are verified with."""
    return await jwks.answer(parts, if_none_match or [])


@well_known.get("/openid-configuration")
async def discover(parts: PartsOfAuth) -> schemas.Discovery:
    """Tell a library where the keys are."""
    issuer = parts.settings.auth_issuer
    return schemas.Discovery(
        issuer=issuer,
        jwks_uri=f"{issuer.rstrip('/')}/.well-known/jwks.json",
        token_endpoint=token_endpoint(parts.settings),
        token_endpoint_auth_methods_supported=[
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        token_endpoint_auth_signing_alg_values_supported=[ALGORITHM],
        grant_types_supported=[GRANT_TYPE],
        id_token_signing_alg_values_supported=[ALGORITHM],
        subject_types_supported=["public"],
        scopes_supported=sorted(PERMISSIONS),
    )


@machines_api.post("/token", response_class=JSONResponse)
async def machine_token(
    asked: Annotated[schemas.MachineCredentials, Form()], parts: PartsOfAuth
) -> schemas.MachineToken:
    """Give a service a token with which it calls one other (client credentials, RFC 6749 section 4.4)."""
    if asked.grant_type != GRANT_TYPE:
        raise UnsupportedGrantType
    issued = await internal_clients.issue(parts.access_tokens, parts.settings.auth_service_secrets, asked)
    lifetime = int(parts.access_tokens.lifetime.total_seconds())
    return schemas.MachineToken(access_token=issued.token, expires_in=lifetime, scope=" ".join(issued.scopes))
