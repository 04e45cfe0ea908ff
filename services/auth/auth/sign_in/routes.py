"""HTTP routes of signing in with one factor: a password, a passkey, a link in a mail."""

from fastapi import status
from servicekit.auth.dependencies import public

from auth import schemas
from auth.email_address import key_of
from auth.factors import schemas as wire
from auth.routing import auth_router
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sign_in import magic_link, password
from auth.sign_in import passkey as passkey_sign_in

router = auth_router("sign-in")


@router.post("/token", dependencies=[public, limited("token")])
async def begin_session(credentials: schemas.Credentials, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Sign in with address and password."""
    await parts.rates.of_subject("token", key_of(credentials.email))
    return await password.sign_in(parts, credentials)


@router.post("/passkeys/sign-in/options", dependencies=[public, limited("passkeys")])
async def begin_passkey_sign_in(parts: PartsOfAuth) -> wire.PasskeyOptions:
    """Give what a browser needs to sign in with a passkey."""
    challenge, options = await passkey_sign_in.begin(parts)
    return wire.PasskeyOptions(challenge=challenge, options=options)


@router.post("/passkeys/sign-in", dependencies=[public, limited("passkeys")])
async def sign_in_with_passkey(shown: wire.PasskeySignIn, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Sign in with a passkey, without address and password."""
    return await passkey_sign_in.sign_in(parts, shown)


@router.post(
    "/magic-link", status_code=status.HTTP_202_ACCEPTED, dependencies=[public, limited("magic-link")]
)
async def send_magic_link(asked: wire.MagicLinkRequest, parts: PartsOfAuth) -> wire.MagicLinkSent:
    """Send a link to sign in with, where that is turned on."""
    return wire.MagicLinkSent(binding=await magic_link.send(parts, asked.email))


@router.post("/magic-link/verify", dependencies=[public, limited("magic-link/verify")])
async def sign_in_with_magic_link(link: wire.MagicLink, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Sign in with the token of a link. No GET does: scanners of mail follow links."""
    return await magic_link.verify(parts, link)
