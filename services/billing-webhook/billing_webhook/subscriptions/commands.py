"""Commands to Stripe: stored first, then sent, and their result applied; finished by a worker after a crash.

A command is committed with what Stripe's idempotency keys are made of before anything is sent, so whoever
sends it again, the client, another replica or the worker, has the same effect once. No transaction is open
while Stripe works.
"""

import logging
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import stripe
from servicekit.database import wake_on_commit
from servicekit.errors import ServiceError, Unavailable
from servicekit.idempotency import IdempotencyConflict
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook import audit
from billing_webhook.audit import Actor
from billing_webhook.models import Command, CommandState
from billing_webhook.services import BillingServices
from billing_webhook.stripe_errors import INDETERMINATE, to_problem
from billing_webhook.subscriptions import execution, sync
from billing_webhook.subscriptions.errors import SubscriptionCommandInProgress, SubscriptionNotFound
from billing_webhook.subscriptions.state import ENDED

logger = logging.getLogger(__name__)

# So long a request works on its command before the worker takes it up.
LEASE = timedelta(seconds=45)
# Stripe forgets keys after 24 hours.
KEY_LIFETIME = timedelta(hours=23)
# The actor of what a new tenant begins with.
SYSTEM = "system"
SPENT = "key_spent"
BACKOFF_SECONDS = (2, 5, 15, 60, 300, 900)


async def store(  # noqa: PLR0913, PLR0917  # the columns of a command
    db: AsyncSession,
    tenant_id: UUID,
    actor: Actor,
    kind: str,
    arguments: dict[str, Any],
    idempotency_key: str | None = None,
) -> Command:
    """Store a command, or return the one that this repeats.

    Raises IdempotencyConflict for a key of something else, or SubscriptionCommandInProgress.
    """
    await sync.lock_tenant(db, tenant_id)
    if known := await find_repeated(db, tenant_id, kind, arguments, idempotency_key):
        return known
    command = Command(
        tenant_id=tenant_id,
        actor=actor.subject or SYSTEM,
        session_id=actor.session_id,
        request_id=actor.request_id,
        kind=kind,
        arguments=arguments,
        facts={},
        idempotency_key=idempotency_key,
        state=CommandState.PENDING,
        generation=0,
        attempts=1,
        next_attempt_at=datetime.now(UTC) + LEASE,
        created_at=datetime.now(UTC),
    )
    await execution.validate(db, command)
    db.add(command)
    await db.flush()
    return command


async def find_repeated(
    db: AsyncSession, tenant_id: UUID, kind: str, arguments: dict[str, Any], idempotency_key: str | None
) -> Command | None:
    """Return the command with this key, or the pending one that wants the same."""
    mine = select(Command).where(Command.tenant_id == tenant_id, Command.state != CommandState.FAILED)
    if idempotency_key is not None:
        known: Command | None = await db.scalar(mine.where(Command.idempotency_key == idempotency_key))
        if known is not None and (known.kind, known.arguments) != (kind, arguments):
            raise IdempotencyConflict
        if known is not None:
            return known
    pending: Command | None = await db.scalar(mine.where(Command.state == CommandState.PENDING))
    if pending is None:
        return None
    if (pending.kind, pending.arguments) != (kind, arguments):
        raise SubscriptionCommandInProgress(retry_after=2)
    return pending


async def execute(services: BillingServices, command: Command) -> Command:
    """Execute a command that is pending, and apply its result; return it as it is then.

    Raises the problem for an error of Stripe: one that leaves open what has happened leaves the command
    pending, any other fails it.
    """
    if command.state != CommandState.PENDING:
        return command
    started = datetime.now(UTC)
    try:
        result = await send(services, command)
    except stripe.StripeError as error:
        if isinstance(error, INDETERMINATE):
            # Stripe keeps a failure of its own for the key, so that the same key would get it again.
            spent = isinstance(error, stripe.APIError | stripe.IdempotencyError)
            await postpone(services, command, SPENT if spent else "unreachable")
        else:
            await fail(services, command, error.code or type(error).__name__)
            await refresh(services, command, error)
        raise to_problem(error) from error
    except ServiceError as error:
        await give_up(services, command, error)
        raise
    return await finish(services, command, result, started)


async def send(services: BillingServices, command: Command) -> execution.Result:
    """Send a command, or find what it has brought about where its key says nothing any more."""
    # Stripe keeps a failure for its key, too, and forgets every key.
    is_spent = command.error == SPENT or datetime.now(UTC) - command.created_at > KEY_LIFETIME
    if not is_spent:
        return await execution.send(services, command)
    if (found := await execution.find_effect(services, command)) is not None:
        return found
    async with services.database.begin() as db:
        row = await db.get_one(Command, command.id, with_for_update=True)
        row.generation, row.error = row.generation + 1, None
        command.generation, command.error = row.generation, None
    return await execution.send(services, command)


async def finish(
    services: BillingServices, command: Command, result: execution.Result, started: datetime
) -> Command:
    """Apply the result of a command and mark it as succeeded, in one transaction."""
    async with services.database.begin() as db:
        await sync.lock_tenant(db, command.tenant_id)
        row = await db.get_one(Command, command.id, with_for_update=True)
        if row.state == CommandState.PENDING:
            await execution.apply(db, services, row, result, started)
            row.state, row.finished_at, row.error = CommandState.SUCCEEDED, func.now(), None
            record_finished(db, row)
            fields = {"command": str(row.id), "kind": row.kind, "actor": row.actor}
            logger.info("subscription command", extra={**fields, "tenant": str(row.tenant_id)})
    return row


def record_finished(db: AsyncSession, command: Command) -> None:
    """Record in the audit log that a command has succeeded, with what it has changed, and from what."""
    actor = Actor(
        subject=None if command.actor == SYSTEM else command.actor,
        session_id=command.session_id,
        request_id=command.request_id,
    )
    action, detail = execution.describe(command)
    audit.record(db, actor, action, tenant_id=command.tenant_id, **detail)


async def postpone(services: BillingServices, command: Command, reason: str) -> None:
    """Leave a command for the worker, as Stripe may have executed it."""
    async with services.database.begin() as db:
        row = await db.get_one(Command, command.id, with_for_update=True)
        seconds = BACKOFF_SECONDS[min(row.attempts, len(BACKOFF_SECONDS)) - 1]
        row.next_attempt_at = datetime.now(UTC) + timedelta(seconds=seconds)
        row.error = reason
        wake_on_commit(db, Command.__tablename__)


async def give_up(services: BillingServices, command: Command, error: ServiceError) -> None:
    """Fail a command that cannot be sent; one of our own waits until it can."""
    if isinstance(error, Unavailable) and command.actor == SYSTEM:
        await postpone(services, command, error.code())
    else:
        await fail(services, command, error.code())


async def fail(services: BillingServices, command: Command, code: str) -> None:
    """Mark a command as failed."""
    async with services.database.begin() as db:
        row = await db.get_one(Command, command.id, with_for_update=True)
        if row.state == CommandState.PENDING:
            row.state, row.finished_at, row.error = CommandState.FAILED, func.now(), code


async def refresh(services: BillingServices, command: Command, error: stripe.StripeError) -> None:
    """Apply the subscription as it is, where it may be another than we knew when Stripe refused a change.

    Raises SubscriptionNotFound if it has ended.
    """
    if not isinstance(error, stripe.InvalidRequestError) or "id" not in command.facts:
        return
    started = datetime.now(UTC)
    try:
        subscription = await execution.retrieve(services, command)
    except stripe.StripeError:
        return
    async with services.database.begin() as db:
        await execution.apply(db, services, command, subscription, started)
    if subscription.status in ENDED:
        raise SubscriptionNotFound from error


async def claim(services: BillingServices) -> Command | None:
    """Claim the next pending command whose time has come, for this attempt alone."""
    due = (
        select(Command)
        .where(Command.state == CommandState.PENDING, Command.next_attempt_at <= func.now())
        .order_by(Command.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    async with services.database.begin() as db:
        command: Command | None = await db.scalar(due)
        if command is not None:
            command.attempts += 1
            command.next_attempt_at = datetime.now(UTC) + LEASE
    return command


async def finish_next(services: BillingServices) -> bool:
    """Finish the next pending command; return whether there was one."""
    command = await claim(services)
    if command is None:
        return False
    try:
        await execute(services, command)
    except ServiceError as problem:
        logger.info("command not finished", extra={"command": str(command.id), "code": problem.code()})
    return True


async def seconds_until_due(services: BillingServices) -> float:
    """Return the seconds until the next pending command is to be executed; infinity without any."""
    first = func.extract("epoch", func.min(Command.next_attempt_at) - func.now())
    async with services.database.begin() as db:
        seconds = await db.scalar(select(first).where(Command.state == CommandState.PENDING))
    return math.inf if seconds is None else float(seconds)
