"""HTTP routes of signing in with one factor: a password, a passkey, a link in a mail."""

from fastapi import status
from servicekit.auth.dependencies import public

from auth import schemas
from auth.email_address import canonical_email
from auth.factors import schemas as wire
from auth.routing import auth_router
from auth.security.rate_limits import rate_limited
from auth.services import Services
from auth.sign_in import magic_link, password
from auth.sign_in import passkey as passkey_sign_in

router = auth_router("sign-in")


@router.post("/token", dependencies=[public, rate_limited("token")])
async def sign_in(credentials: schemas.Credentials, services: Services) -> schemas.TokenResponse:
    """Sign in with address and password."""
    await services.rates.check_subject("token", canonical_email(credentials.email))
    return await password.sign_in(services, credentials)


@router.post("/passkeys/sign-in/options", dependencies=[public, rate_limited("passkeys")])
async def begin_passkey_sign_in(services: Services) -> wire.PasskeyOptions:
    """Return what a browser needs to sign in with a passkey."""
    challenge, options = await passkey_sign_in.begin(services)
    return wire.PasskeyOptions(challenge=challenge, options=options)


@router.post("/passkeys/sign-in", dependencies=[public, rate_limited("passkeys")])
async def sign_in_with_passkey(request: wire.PasskeySignIn, services: Services) -> schemas.TokenResponse:
    """Sign in with a passkey, without address and password."""
    return await passkey_sign_in.sign_in(services, request)


@router.post(
    "/magic-link", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, rate_limited("magic-link")]
)
async def send_magic_link(request: wire.MagicLinkRequest, services: Services) -> wire.MagicLinkSent:
    """Send a sign-in link, where that is enabled."""
    return wire.MagicLinkSent(binding=await magic_link.send(services, request.email))


@router.post("/magic-link/verify", dependencies=[public, rate_limited("magic-link/verify")])
async def sign_in_with_magic_link(link: wire.MagicLink, services: Services) -> schemas.TokenResponse:
    """Sign in with the token of a link. Not by GET: mail scanners follow links."""
    return await magic_link.verify(services, link)
