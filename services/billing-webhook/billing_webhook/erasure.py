"""Erasure of deleted users and tenants: the ledger keeps the usage and anonymizes the user.

User ids are never reused, so the ids of deleted users are kept, and usage that is reported late is anonymous.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from servicekit import erasure, erasure_worker
from servicekit.database import Database
from servicekit.erasure import ANONYMOUS_SUBJECT, TENANT_EVENTS, USER_EVENT, deleted_users, tenants
from servicekit.erasure_worker import ErasureRule, ErasureWorker
from servicekit.events.relay import Handler
from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from billing_webhook.models import Budget, Command, Customer, Reservation, UsageEntry, UsageRecord

# Entries that were being written when the event arrived are committed long before.
GRACE_PERIOD = timedelta(minutes=5)
# What names a user. Of reservations and budgets there are few, and they are not kept.
Ledger = type[UsageEntry] | type[UsageRecord]
LEDGERS: tuple[Ledger, ...] = (UsageEntry, UsageRecord)
USER_BUDGET = Budget.scope == "user"


def is_named(table: Ledger | type[Reservation]) -> ColumnElement[bool]:
    """Return the condition that a row names a user."""
    return table.user_id != ANONYMOUS_SUBJECT


USER_HAS_ENTRIES = or_(
    *(exists().where(table.user_id == deleted_users.c.user_id) for table in (*LEDGERS, Reservation)),
    exists().where(Budget.scope_id == deleted_users.c.user_id, USER_BUDGET),
    exists().where(Command.actor == deleted_users.c.user_id),
)
TENANT_HAS_ENTRIES = or_(
    *(exists().where(table.tenant_id == tenants.c.id, is_named(table)) for table in (*LEDGERS, Reservation)),
    exists().where(Budget.tenant_id == tenants.c.id),
    exists().where(Command.tenant_id == tenants.c.id, Command.actor != ANONYMOUS_SUBJECT),
    exists().where(Customer.tenant_id == tenants.c.id, Customer.billing_email.is_not(None)),
)
PENDING_TENANTS = erasure.purgeable_tenants().where(tenants.c.forgotten_at.is_(None))


async def subject_or_anonymous(db: AsyncSession, user_id: str, tenant_id: UUID) -> str:
    """Return the subject for a ledger entry: the user, or anonymous if the user or the tenant was deleted."""
    is_erased = (
        erasure.is_deleted_user(user_id).exists()
        | erasure.purgeable_tenants().where(tenants.c.id == tenant_id).exists()
    )
    return ANONYMOUS_SUBJECT if await db.scalar(select(is_erased)) else user_id


def create_erasure_worker(database: Database) -> ErasureWorker:
    """Return the worker that anonymizes the entries of deleted users and tenants."""
    users = ErasureRule(
        erasure.pending_erasures(),
        USER_HAS_ENTRIES,
        partial(erase, database, "user_id"),
        lambda db: erasure.mark_erased(db, USER_HAS_ENTRIES, GRACE_PERIOD),
    )
    ended = ErasureRule(
        PENDING_TENANTS.order_by(tenants.c.purge_after),
        TENANT_HAS_ENTRIES,
        partial(erase, database, "tenant_id"),
        mark_tenants_erased,
    )
    return ErasureWorker(database, [users, ended])


async def erase(database: Database, column: str, ids: Sequence[Any]) -> int:
    """Anonymize the entries of these users or tenants in batches, and return the size of the largest."""
    async with database.begin() as db:
        await erase_limits(db, column, ids)
        await erase_customers(db, column, ids)
    return max([await anonymize(database, table, getattr(table, column), ids) for table in LEDGERS])


async def erase_limits(db: AsyncSession, column: str, ids: Sequence[Any]) -> None:
    """Anonymize the reservations of these users or tenants, and delete their budgets."""
    is_theirs = getattr(Reservation, column).in_(ids), is_named(Reservation)
    await db.execute(update(Reservation).where(*is_theirs).values(user_id=ANONYMOUS_SUBJECT))
    by_column = {"user_id": USER_BUDGET & Budget.scope_id.in_(ids), "tenant_id": Budget.tenant_id.in_(ids)}
    await db.execute(delete(Budget).where(by_column[column]))


async def erase_customers(db: AsyncSession, column: str, ids: Sequence[Any]) -> None:
    """Anonymize the commands of these users or tenants, and delete the addresses of customers."""
    if column == "user_id":
        await db.execute(update(Command).where(Command.actor.in_(ids)).values(actor=ANONYMOUS_SUBJECT))
        return
    anonymous = {"actor": ANONYMOUS_SUBJECT, "arguments": Command.arguments.op("-")("billing_email")}
    await db.execute(update(Command).where(Command.tenant_id.in_(ids)).values(anonymous))
    await db.execute(update(Customer).where(Customer.tenant_id.in_(ids)).values(billing_email=None))


async def anonymize(
    database: Database, table: Ledger, column: InstrumentedAttribute[Any], ids: Sequence[Any]
) -> int:
    """Anonymize a batch of the entries of these users or tenants, and return their number."""
    query = select(table.id).where(column.in_(ids), is_named(table)).limit(erasure_worker.BATCH_SIZE)
    async with database.begin() as db:
        entries = (await db.scalars(query.with_for_update(skip_locked=True))).all()
        anonymous = update(table).where(table.id.in_(entries)).values(user_id=ANONYMOUS_SUBJECT)
        await db.execute(anonymous)
    return len(entries)


async def mark_tenants_erased(db: AsyncSession) -> None:
    """Mark tenants as erased that have no entries with a user, and can get none any more."""
    is_past = tenants.c.purge_after < func.now() - GRACE_PERIOD
    erased = (tenants.c.forgotten_at.is_(None), is_past, ~TENANT_HAS_ENTRIES)
    await db.execute(update(tenants).where(*erased).values(forgotten_at=func.now()))


HANDLERS: dict[str, Handler] = {
    USER_EVENT: erasure.record_user_deleted,
    **dict.fromkeys(TENANT_EVENTS, erasure.record_tenant_changed),
}
