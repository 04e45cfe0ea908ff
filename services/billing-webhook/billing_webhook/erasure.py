"""Erasure of deleted users, and the worker that erases these and purged tenants (`tenant_erasure`).

The ledger keeps the usage and anonymizes the user.
User ids are never reused, so the ids of deleted users are kept, and usage that is reported late is anonymous.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from uuid import UUID

from servicekit import erasure, erasure_worker
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT, TENANT_EVENTS, USER_EVENT, deleted_users, tenants
from servicekit.erasure_worker import ErasureRule, ErasureWorker
from servicekit.events.outbox import ReceivedEvent
from servicekit.events.relay import Handler
from servicekit.retention import RetentionRule
from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from billing_webhook.entitlements import counters
from billing_webhook.entitlements.expiry import RUN_LIFETIME
from billing_webhook.models import Base, Budget, Command, ErasedEndUser, Reservation, UsageEntry, UsageRecord
from billing_webhook.received_events import EndUserErased, RunCompleted
from billing_webhook.tenant_erasure import TENANT_HAS_ROWS, erase_tenants

# Entries that were being written when the event arrived are committed long before.
GRACE_PERIOD = timedelta(minutes=5)
# What names a user. Of reservations and budgets there are few, and they are not kept.
Ledger = type[UsageEntry] | type[UsageRecord]
LEDGERS: tuple[Ledger, ...] = (UsageEntry, UsageRecord)
USER_BUDGET = Budget.scope == "user"
ANONYMOUS_COMMAND = {"actor": ANONYMOUS_SUBJECT, "session_id": None, "request_id": None}


def is_named(table: Ledger | type[Reservation]) -> ColumnElement[bool]:
    """Return the condition that a row names a user."""
    return table.user_id != ANONYMOUS_SUBJECT


USER_HAS_ENTRIES = or_(
    *(exists().where(table.user_id == deleted_users.c.user_id) for table in (*LEDGERS, Reservation)),
    exists().where(Budget.scope_id == deleted_users.c.user_id, USER_BUDGET),
    exists().where(Command.actor == deleted_users.c.user_id),
)
PENDING_TENANTS = erasure.purgeable_tenants().where(tenants.c.forgotten_at.is_(None))


async def subject_or_anonymous(db: AsyncSession, run: RunCompleted) -> str:
    """Return the subject for a ledger entry: the user, or anonymous if the user or the tenant was deleted.

    An erased end user may come again: only runs that began before are anonymous.
    """
    is_erased = (
        erasure.is_deleted_user(run.user_id).exists()
        | is_purged(run.tenant_id)
        | exists().where(
            ErasedEndUser.digest == digest_of(run.tenant_id, run.user_id),
            ErasedEndUser.erased_at >= run.started_at,
        )
    )
    return ANONYMOUS_SUBJECT if await db.scalar(select(is_erased)) else run.user_id


def digest_of(tenant_id: UUID, user_id: str) -> bytes:
    """Return the digest by which an end user is recognised after the erasure."""
    return sha256(f"{tenant_id} {user_id}".encode()).digest()


def is_purged(tenant_id: UUID) -> ColumnElement[bool]:
    """Return the condition that nothing personal of a tenant may be stored any more."""
    return erasure.purgeable_tenants().where(tenants.c.id == tenant_id).exists()


def create_erasure_worker(database: Database) -> ErasureWorker:
    """Return the worker that erases what is of deleted users and tenants."""
    users = ErasureRule(
        erasure.pending_erasures(),
        USER_HAS_ENTRIES,
        partial(erase_users, database),
        lambda db: erasure.mark_erased(db, USER_HAS_ENTRIES, GRACE_PERIOD),
    )
    ended = ErasureRule(
        PENDING_TENANTS.order_by(tenants.c.purge_after),
        TENANT_HAS_ROWS,
        partial(erase_tenants, database),
        mark_tenants_erased,
    )
    return ErasureWorker(database, [users, ended])


async def erase_users(database: Database, ids: Sequence[str]) -> int:
    """Anonymize the entries of these users in batches, and return the size of the largest."""
    async with database.begin() as db:
        theirs = Reservation.user_id.in_(ids), is_named(Reservation)
        await db.execute(update(Reservation).where(*theirs).values(user_id=ANONYMOUS_SUBJECT))
        await db.execute(delete(Budget).where(USER_BUDGET & Budget.scope_id.in_(ids)))
        await db.execute(update(Command).where(Command.actor.in_(ids)).values(ANONYMOUS_COMMAND))
    return max([await anonymize(database, table, ids) for table in LEDGERS])


async def anonymize(database: Database, table: Ledger, ids: Sequence[str]) -> int:
    """Anonymize a batch of the entries of these users, and return their number."""
    query = select(table.id).where(table.user_id.in_(ids), is_named(table)).limit(erasure_worker.BATCH_SIZE)
    async with database.begin() as db:
        entries = (await db.scalars(query.with_for_update(skip_locked=True))).all()
        anonymous = update(table).where(table.id.in_(entries)).values(user_id=ANONYMOUS_SUBJECT)
        await db.execute(anonymous)
    return len(entries)


async def mark_tenants_erased(db: AsyncSession) -> None:
    """Mark tenants as erased of which nothing is left to erase, and can come any more."""
    is_past = tenants.c.purge_after < func.now() - GRACE_PERIOD
    erased = (tenants.c.forgotten_at.is_(None), is_past, ~TENANT_HAS_ROWS)
    await db.execute(update(tenants).where(*erased).values(forgotten_at=func.now()))


async def anonymize_end_user(db: AsyncSession, received: ReceivedEvent) -> None:
    """Make the usage of an application's end user anonymous, who may come again, and delete its budgets.

    What is recorded at the same moment is either stored before, or knows of the erasure.
    """
    event = EndUserErased.model_validate(received.data)
    await counters.lock_exclusive(db, event.tenant_id)
    await insert_erased(db, event, received.time)
    for table in (*LEDGERS, Reservation):
        theirs = update(table).where(table.tenant_id == event.tenant_id, table.user_id == event.user_id)
        await db.execute(theirs.values(user_id=ANONYMOUS_SUBJECT))
    is_theirs = USER_BUDGET, Budget.tenant_id == event.tenant_id, Budget.scope_id == event.user_id
    await db.execute(delete(Budget).where(*is_theirs))


async def insert_erased(db: AsyncSession, event: EndUserErased, erased_at: datetime) -> None:
    """Record that an end user was erased, by a digest: usage may be reported late."""
    row = insert(ErasedEndUser).values(digest=digest_of(event.tenant_id, event.user_id), erased_at=erased_at)
    newest = func.greatest(ErasedEndUser.erased_at, row.excluded.erased_at)
    await db.execute(row.on_conflict_do_update(index_elements=["digest"], set_={"erased_at": newest}))


# Of runs that began so long ago nothing is reported any more.
RETENTION: RetentionRule = (
    Base.metadata.tables["erased_end_users"],
    ErasedEndUser.erased_at < func.now() - RUN_LIFETIME,
)

HANDLERS: dict[str, Handler] = {
    "chat.end_user.erased.v1": anonymize_end_user,
    USER_EVENT: erasure.record_user_deleted,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
}
