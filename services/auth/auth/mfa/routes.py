"""The addresses of second factors, passkeys, step-up and magic links."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, status
from servicekit.auth.dependencies import Caller, SignedIn, public
from servicekit.auth.tokens import Principal
from servicekit.database import Session

from auth import schemas
from auth.access.sensitive_actions import SensitiveAction
from auth.factors import passkeys
from auth.factors import schemas as wire
from auth.mfa import challenge_flow, enrolment, required_enrolment
from auth.models import Passkey
from auth.routing import auth_router
from auth.security.rate_limits import limited
from auth.services import PartsOfAuth
from auth.sessions import step_up
from auth.sessions.authorization import sensitive

router = auth_router("factors")


async def unhurried(caller: SignedIn, parts: PartsOfAuth) -> None:
    """Limit what one person does with factors, from wherever."""
    await parts.rates.of_subject("factors", caller.subject)


by_person: Any = Depends(unhurried)


@router.post("/token/second-factor", dependencies=[public, limited("second-factor")])
async def finish_sign_in(answer: wire.SecondFactor, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Answer the challenge of a sign-in with a second factor."""
    return await challenge_flow.finish(parts, answer)


@router.post(
    "/token/enrol/totp",
    status_code=status.HTTP_201_CREATED,
    dependencies=[public, limited("second-factor")],
)
async def begin_required_totp(asked: wire.EnrolmentChallenge, parts: PartsOfAuth) -> wire.NewTotp:
    """Give the seed for the authenticator app without which a tenant lets nobody in."""
    seed, uri = await required_enrolment.begin_totp(parts, asked.challenge.get_secret_value())
    return wire.NewTotp(seed=seed, otpauth_uri=uri)


@router.post("/token/enrol/totp/confirm", dependencies=[public, limited("second-factor")])
async def finish_required_totp(answer: wire.EnrolmentCode, parts: PartsOfAuth) -> wire.Enrolled:
    """Let the app count, and finish the sign-in."""
    return await required_enrolment.finish(parts, answer)


@router.post("/token/enrol/passkey/options", dependencies=[public, limited("second-factor")])
async def begin_required_passkey(asked: wire.EnrolmentChallenge, parts: PartsOfAuth) -> wire.PasskeyOptions:
    """Give what a browser needs to make the passkey without which a tenant lets nobody in."""
    challenge = asked.challenge.get_secret_value()
    options = await required_enrolment.begin_passkey(parts, challenge)
    return wire.PasskeyOptions(challenge=challenge, options=options)


@router.post("/token/enrol/passkey", dependencies=[public, limited("second-factor")])
async def finish_required_passkey(made: wire.NewPasskey, parts: PartsOfAuth) -> wire.Enrolled:
    """Register the passkey, and finish the sign-in."""
    return await required_enrolment.finish(parts, made)


@router.post("/step-up/options", dependencies=[by_person])
async def begin_step_up(caller: SignedIn, parts: PartsOfAuth, session: Session) -> wire.PasskeyOptions:
    """Give what a browser needs to prove with a passkey once more who one is."""
    asked, known = await step_up.ask_for_passkey(session, parts, caller)
    options = passkeys.options_to_sign(parts, asked.to_sign, known)
    return wire.PasskeyOptions(challenge=asked.token, options=options)


@router.post("/step-up", dependencies=[limited("step-up"), by_person])
async def prove_once_more(caller: SignedIn, proof: wire.StepUp, parts: PartsOfAuth) -> schemas.SessionBundle:
    """Exchange the session for one that was proved just now; the one before is over."""
    return await step_up.step_up(parts, caller, proof)


@router.get("/factors")
async def list_factors(caller: Caller, session: Session) -> wire.Factors:
    """List one's factors."""
    return await enrolment.every(session, caller)


@router.post("/factors/totp", status_code=status.HTTP_201_CREATED, dependencies=[by_person])
async def begin_totp(
    caller: Annotated[Principal, sensitive(SensitiveAction.BEGIN_TOTP)], parts: PartsOfAuth, session: Session
) -> wire.NewTotp:
    """Give the seed for an authenticator app; it counts when one code was right."""
    seed, uri = await enrolment.begin_totp(session, parts, caller)
    return wire.NewTotp(seed=seed, otpauth_uri=uri)


@router.post("/factors/totp/confirm", dependencies=[by_person])
async def confirm_totp(
    caller: Annotated[Principal, sensitive(SensitiveAction.ADD_TOTP)],
    shown: wire.TotpCode,
    parts: PartsOfAuth,
) -> wire.FactorAdded:
    """Let the authenticator app count, with the code that it shows."""
    codes = await enrolment.confirm_totp(parts, caller, shown.code.get_secret_value())
    return wire.FactorAdded(recovery_codes=codes)


@router.delete("/factors/totp", status_code=status.HTTP_204_NO_CONTENT)
async def remove_totp(
    caller: Annotated[Principal, sensitive(SensitiveAction.REMOVE_TOTP)], parts: PartsOfAuth, session: Session
) -> None:
    """Remove the authenticator app; other sessions end."""
    await enrolment.remove_totp(session, parts, caller)


@router.post("/factors/recovery-codes", dependencies=[by_person])
async def renew_recovery_codes(
    caller: Annotated[Principal, sensitive(SensitiveAction.RENEW_RECOVERY_CODES)],
    parts: PartsOfAuth,
) -> wire.RecoveryCodes:
    """Give new recovery codes; the ones before are void."""
    codes = await enrolment.renew_recovery_codes(parts, caller)
    return wire.RecoveryCodes(recovery_codes=codes)


@router.post("/factors/passkeys/options", dependencies=[by_person])
async def begin_passkey(
    caller: Annotated[Principal, sensitive(SensitiveAction.BEGIN_PASSKEY)],
    parts: PartsOfAuth,
    session: Session,
) -> wire.PasskeyOptions:
    """Give what a browser needs to make a passkey."""
    challenge, options = await enrolment.begin_passkey(session, parts, caller)
    return wire.PasskeyOptions(challenge=challenge, options=options)


@router.post("/factors/passkeys", status_code=status.HTTP_201_CREATED, dependencies=[by_person])
async def add_passkey(
    caller: Annotated[Principal, sensitive(SensitiveAction.ADD_PASSKEY)],
    wanted: wire.NewPasskey,
    parts: PartsOfAuth,
) -> wire.PasskeyAdded:
    """Register a passkey."""
    passkey, codes = await enrolment.add_passkey(parts, caller, wanted)
    return wire.PasskeyAdded(passkey=wire.PasskeyFactor.model_validate(passkey), recovery_codes=codes)


@router.patch("/factors/passkeys/{passkey_id}", response_model=wire.PasskeyFactor)
async def rename_passkey(
    caller: Caller, passkey_id: UUID, change: wire.PasskeyName, session: Session
) -> Passkey:
    """Give a passkey another name."""
    return await enrolment.rename_passkey(session, caller, passkey_id, change.name)


@router.delete("/factors/passkeys/{passkey_id}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_passkey(
    caller: Annotated[Principal, sensitive(SensitiveAction.REMOVE_PASSKEY)],
    passkey_id: UUID,
    parts: PartsOfAuth,
    session: Session,
) -> None:
    """Remove a passkey; other sessions end."""
    await enrolment.remove_passkey(session, parts, caller, passkey_id)
