"""The routes of second factors, passkeys, step-up and magic links."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, status
from servicekit.auth.dependencies import Caller, SignedIn, public
from servicekit.auth.tokens import Principal
from servicekit.database import Session as Db

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.factors import passkeys
from auth.factors import schemas as wire
from auth.mfa import challenge_flow, enrolment, required_enrolment
from auth.models import Passkey
from auth.routing import auth_router
from auth.security.rate_limits import rate_limited
from auth.services import Services
from auth.sessions import step_up
from auth.sessions.authorization import sensitive

router = auth_router("factors")


async def limit_per_user(caller: SignedIn, services: Services) -> None:
    """Limit the rate of factor changes of one user, from all addresses."""
    await services.rates.check_subject("factors", caller.subject)


per_user: Any = Depends(limit_per_user)


@router.post("/token/second-factor", dependencies=[public, rate_limited("second-factor")])
async def finish_sign_in(answer: wire.SecondFactor, services: Services) -> schemas.TokenResponse:
    """Answer the challenge of a sign-in with a second factor."""
    return await challenge_flow.answer_challenge(services, answer)


@router.post(
    "/token/enrol/totp",
    status_code=status.HTTP_201_CREATED,
    dependencies=[public, rate_limited("second-factor")],
)
async def begin_required_totp(request: wire.EnrolmentChallenge, services: Services) -> wire.NewTotp:
    """Return the seed for the authenticator app that the tenant requires."""
    seed, uri = await required_enrolment.begin_totp(services, request.challenge.get_secret_value())
    return wire.NewTotp(seed=seed, otpauth_uri=uri)


@router.post("/token/enrol/totp/confirm", dependencies=[public, rate_limited("second-factor")])
async def finish_required_totp(answer: wire.EnrolmentCode, services: Services) -> wire.Enrolled:
    """Confirm the app and finish the sign-in."""
    return await required_enrolment.finish(services, answer)


@router.post("/token/enrol/passkey/options", dependencies=[public, rate_limited("second-factor")])
async def begin_required_passkey(request: wire.EnrolmentChallenge, services: Services) -> wire.PasskeyOptions:
    """Return what a browser needs to create the passkey that the tenant requires."""
    challenge = request.challenge.get_secret_value()
    options = await required_enrolment.begin_passkey(services, challenge)
    return wire.PasskeyOptions(challenge=challenge, options=options)


@router.post("/token/enrol/passkey", dependencies=[public, rate_limited("second-factor")])
async def finish_required_passkey(request: wire.NewPasskey, services: Services) -> wire.Enrolled:
    """Register the passkey, and finish the sign-in."""
    return await required_enrolment.finish(services, request)


@router.post("/step-up/options", dependencies=[per_user])
async def begin_step_up(caller: SignedIn, services: Services, db: Db) -> wire.PasskeyOptions:
    """Return what a browser needs for a step-up with a passkey."""
    challenge, own_passkeys = await step_up.issue_passkey_challenge(db, services, caller)
    options = passkeys.authentication_options(services, challenge.webauthn_challenge, own_passkeys)
    return wire.PasskeyOptions(challenge=challenge.token, options=options)


@router.post("/step-up", dependencies=[rate_limited("step-up"), per_user])
async def complete_step_up(caller: SignedIn, proof: wire.StepUp, services: Services) -> schemas.TokenResponse:
    """Exchange the session for one with a new proof of identity, and end the previous one."""
    return await step_up.step_up(services, caller, proof)


@router.get("/factors")
async def list_factors(caller: Caller, db: Db) -> wire.Factors:
    """List one's factors."""
    return await enrolment.list_factors(db, caller)


@router.post("/factors/totp", status_code=status.HTTP_201_CREATED, dependencies=[per_user])
async def begin_totp(
    caller: Annotated[Principal, sensitive(SensitiveAction.BEGIN_TOTP)], services: Services, db: Db
) -> wire.NewTotp:
    """Return the seed for an authenticator app, which counts once confirmed."""
    seed, uri = await enrolment.begin_totp(db, services, caller)
    return wire.NewTotp(seed=seed, otpauth_uri=uri)


@router.post("/factors/totp/confirm", dependencies=[per_user])
async def confirm_totp(
    caller: Annotated[Principal, sensitive(SensitiveAction.ADD_TOTP)],
    request: wire.TotpCode,
    services: Services,
) -> wire.FactorAdded:
    """Confirm the authenticator app with its first code."""
    codes = await enrolment.confirm_totp(services, caller, request.code.get_secret_value())
    return wire.FactorAdded(recovery_codes=codes)


@router.delete("/factors/totp", status_code=status.HTTP_204_NO_CONTENT)
async def remove_totp(
    caller: Annotated[Principal, sensitive(SensitiveAction.REMOVE_TOTP)], services: Services, db: Db
) -> None:
    """Remove the authenticator app; other sessions end."""
    await enrolment.remove_totp(db, services, caller)


@router.post("/factors/recovery-codes", dependencies=[per_user])
async def renew_recovery_codes(
    caller: Annotated[Principal, sensitive(SensitiveAction.RENEW_RECOVERY_CODES)],
    services: Services,
) -> wire.RecoveryCodes:
    """Replace the recovery codes."""
    codes = await enrolment.renew_recovery_codes(services, caller)
    return wire.RecoveryCodes(recovery_codes=codes)


@router.post("/factors/passkeys/options", dependencies=[per_user])
async def begin_passkey(
    caller: Annotated[Principal, sensitive(SensitiveAction.BEGIN_PASSKEY)],
    services: Services,
    db: Db,
) -> wire.PasskeyOptions:
    """Return what a browser needs to make a passkey."""
    challenge, options = await enrolment.begin_passkey(db, services, caller)
    return wire.PasskeyOptions(challenge=challenge, options=options)


@router.post("/factors/passkeys", status_code=status.HTTP_201_CREATED, dependencies=[per_user])
async def add_passkey(
    caller: Annotated[Principal, sensitive(SensitiveAction.ADD_PASSKEY)],
    request: wire.NewPasskey,
    services: Services,
) -> wire.PasskeyAdded:
    """Register a passkey."""
    passkey, codes = await enrolment.add_passkey(services, caller, request)
    return wire.PasskeyAdded(passkey=wire.PasskeyFactor.model_validate(passkey), recovery_codes=codes)


@router.patch("/factors/passkeys/{passkey_id}", response_model=wire.PasskeyFactor)
async def rename_passkey(caller: Caller, passkey_id: UUID, change: wire.PasskeyName, db: Db) -> Passkey:
    """Rename a passkey."""
    return await enrolment.rename_passkey(db, caller, passkey_id, change.name)


@router.delete("/factors/passkeys/{passkey_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_passkey(
    caller: Annotated[Principal, sensitive(SensitiveAction.REMOVE_PASSKEY)],
    passkey_id: UUID,
    services: Services,
    db: Db,
) -> None:
    """Remove a passkey; other sessions end."""
    await enrolment.remove_passkey(db, services, caller, passkey_id)
