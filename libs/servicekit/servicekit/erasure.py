"""Deleted users and tenants, recorded in each service from auth's events, for erasure.

Ids of people are not used again, so who has left is remembered for ever, by the id alone; and what comes late
of theirs is known to be nobody's. A service takes both tables into its own metadata (see `events.outbox`).
"""

from datetime import timedelta
from uuid import UUID

from pydantic import AwareDatetime, BaseModel
from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Index,
    Integer,
    Select,
    Table,
    Text,
    Uuid,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from servicekit.database import metadata, wake_on_commit
from servicekit.events.outbox import ReceivedEvent

# In the place of who has left, where something of theirs has to stay.
ANONYMOUS_SUBJECT = f"user:{UUID(int=0)}"
# Of a tenant that went with its last person: nothing is newer.
LAST_VERSION = 2**31 - 1

_tables = metadata()

# `forgotten_at`, in both: nothing of theirs is left here, or can come any more; for who has to look for it.
deleted_users = Table(
    "leavers",
    _tables,
    Column("user_id", Text, primary_key=True),
    Column("heard_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("forgotten_at", DateTime(timezone=True)),
    Index("ix_leavers_open", "user_id", postgresql_where=text("forgotten_at is null")),
)

# As of the newest event that was heard of each.
tenants = Table(
    "tenants",
    _tables,
    Column("id", Uuid, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("purge_after", DateTime(timezone=True)),
    Column("forgotten_at", DateTime(timezone=True)),
    Index(None, "purge_after"),
)


# What a commit wakes that records a deletion.
WORK = "erasure"
USER_EVENT = "auth.user.deleted.v1"
TENANT_EVENTS = ("auth.tenant.deleted.v1", "auth.tenant.suspended.v1", "auth.tenant.reactivated.v1")


class UserDeleted(BaseModel):
    """A user was deleted, and with them the tenants that nobody else was a member of."""

    user_id: str
    tenant_ids: list[UUID]


class TenantChanged(BaseModel):
    """A tenant's new status; `purge_after` is set only when it was deleted."""

    tenant_id: UUID
    version: int
    purge_after: AwareDatetime | None = None


async def record_user_deleted(db: AsyncSession, received: ReceivedEvent) -> UserDeleted:
    """Record that a user was deleted, with the tenants that were deleted with them."""
    event = UserDeleted.model_validate(received.data)
    await insert_deleted_user(db, event.user_id)
    gone = {"version": LAST_VERSION, "purge_after": func.now()}
    for tenant_id in event.tenant_ids:
        row = insert(tenants).values(id=tenant_id, **gone)
        await db.execute(row.on_conflict_do_update(index_elements=["id"], set_=gone))
    return event


async def insert_deleted_user(db: AsyncSession, user_id: str) -> None:
    """Record that a user was deleted."""
    await db.execute(insert(deleted_users).values(user_id=user_id).on_conflict_do_nothing())
    wake_on_commit(db, WORK)


async def record_tenant_changed(db: AsyncSession, received: ReceivedEvent) -> TenantChanged | None:
    """Record a change of a tenant; returns None, and changes nothing, when a newer one is recorded."""
    event = TenantChanged.model_validate(received.data)
    wake_on_commit(db, WORK)
    row = insert(tenants).values(id=event.tenant_id, version=event.version, purge_after=event.purge_after)
    newest = {"version": row.excluded.version, "purge_after": row.excluded.purge_after}
    noted = await db.scalar(
        row.on_conflict_do_update(
            index_elements=["id"], set_=newest, where=tenants.c.version < row.excluded.version
        ).returning(tenants.c.id)
    )
    return event if noted else None


def is_deleted_user(user_id: str) -> Select[str]:
    """Select a user among the deleted ones."""
    return select(deleted_users.c.user_id).where(deleted_users.c.user_id == user_id)


def pending_erasures() -> Select[str]:
    """Select the deleted users whose data are not yet erased here."""
    return select(deleted_users.c.user_id).where(deleted_users.c.forgotten_at.is_(None))


async def mark_erased(db: AsyncSession, is_left: ColumnElement[bool], late: timedelta) -> None:
    """Mark deleted users as erased who have no rows left, and whose late events have all arrived."""
    done = (deleted_users.c.forgotten_at.is_(None), deleted_users.c.heard_at < func.now() - late, ~is_left)
    await db.execute(update(deleted_users).where(*done).values(forgotten_at=func.now()))


def purgeable_tenants() -> Select[UUID]:
    """Select the tenants whose data may be purged."""
    return select(tenants.c.id).where(tenants.c.purge_after < func.now())
