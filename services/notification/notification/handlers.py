"""Reactions to events: which email an event requests."""

from datetime import datetime

from servicekit import erasure
from servicekit.erasure import TENANT_EVENTS, USER_EVENT
from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from sqlalchemy.ext.asyncio import AsyncSession

from notification import deliveries
from notification.billing_handlers import BILLING_HANDLERS
from notification.events import EmailRequested, VerificationRequested, format_time


async def enqueue_old_verification_email(db: AsyncSession, received: ReceivedEvent) -> None:
    """Enqueue the verification email of an event that an auth of before 0.1 published; ignore a bare fact."""
    if "verification" not in received.data:
        return
    event = VerificationRequested.model_validate(received.data)
    expires_at = event.verification.expires_at
    await deliveries.enqueue(
        db,
        dedupe_key=str(received.id),
        tenant_id=event.tenant_id,
        user_id=event.user_id,
        template="email_verification",
        address=event.email,
        payload={
            "name": event.display_name,
            "tenant_name": event.tenant_name,
            "expires_at": format_time(expires_at),
        },
        sealed_token=event.verification.token,
        expires_at=expires_at,
    )


async def enqueue_email(db: AsyncSession, received: ReceivedEvent) -> None:
    """Enqueue the requested email."""
    event = EmailRequested.model_validate(received.data)
    await deliveries.enqueue(
        db,
        dedupe_key=str(received.id),
        tenant_id=event.tenant_id,
        user_id=event.recipient,
        template=event.kind,
        address=event.email,
        payload=payload_of(event, received.time),
        sealed_token=event.token,
        expires_at=event.expires_at,
    )


def payload_of(event: EmailRequested, time: datetime) -> dict[str, str | None]:
    """Return the values of the template, except the token."""
    return {
        "at": format_time(time),
        **event.facts.model_dump(exclude_none=True),
        "name": event.display_name,
        "expires_at": format_time(event.expires_at),
    }


async def erase_user(db: AsyncSession, received: ReceivedEvent) -> None:
    """Delete the emails of a deleted user, and record the tenants that went with them."""
    event = await erasure.record_user_deleted(db, received)
    await deliveries.erase_user(db, event.user_id)


HANDLERS: dict[str, Handler] = {
    # Registrations of an auth that is not updated yet bring the verification email with them.
    "auth.user.registered.v1": enqueue_old_verification_email,
    "auth.email.requested.v1": enqueue_email,
    USER_EVENT: erase_user,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
    **BILLING_HANDLERS,
}
# What an auth of the version before publishes, until all of its replicas are updated.
PREVIOUS_HANDLERS: dict[str, Handler] = {
    "auth.email_verification.requested.v1": enqueue_old_verification_email,
    "auth.mail.due.v1": enqueue_email,
}
