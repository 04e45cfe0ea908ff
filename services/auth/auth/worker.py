"""Workers of auth: publish its events, store what others record in the audit log, delete what has expired."""

from collections.abc import Sequence
from datetime import timedelta

from servicekit.app import Resources, run_workers
from servicekit.database import Database
from servicekit.events.relay import Consumer, OutboxRelay
from servicekit.retention import RetentionWorker
from servicekit.workers.base import LoopWorker
from servicekit.workers.supervisor import Worker
from sqlalchemy import delete, func, select, text

from auth import users
from auth.account import deletion
from auth.audit import receive
from auth.models import (
    AuditEvent,
    Challenge,
    EmailToken,
    RefreshToken,
    ServiceCredential,
    Session,
    Status,
    User,
)
from auth.security import revocation
from auth.settings import Settings
from auth.signing.vault import Vault, VaultTokenRenewal
from auth.tenants import lifecycle

# Whoever reads our stream; a group is made for each before the first event is told.
STREAM_READERS = ("notification", "conversation", "chat-agent", "billing-webhook")
# Whose streams we read.
SOURCES = ("billing-webhook", "chat-agent")
HANDLERS = receive.HANDLERS
HOUR_SECONDS = 3600.0
# Who has not confirmed an address by then does not want the account.
UNVERIFIED_TTL = timedelta(days=7)
BATCH = 500


class ExpiryWorker(LoopWorker):
    """Removes sessions, tokens, registrations, accounts and tenants whose time is over.

    Several replicas may do so at once.
    """

    def __init__(self, database: Database, audit_retention: timedelta = timedelta(days=365)) -> None:
        super().__init__("expiry")
        self._database = database
        self._audit_retention = audit_retention

    async def begin(self) -> None:
        """Make sure that the database answers."""
        await self._database.ping()

    async def step(self) -> float:
        """Clear away once."""
        for table in (RefreshToken, EmailToken, Challenge, Session, ServiceCredential):
            async with self._database.begin() as db:
                await db.execute(delete(table).where(table.expires_at < func.now()))
        async with self._database.begin() as db:
            await lifecycle.purge(db)
            await revocation.purge(db)
        while await self._delete_unverified() == BATCH:
            pass
        while await self._erase_closed():
            pass
        while await self._delete_audit_events() == BATCH:
            pass
        return HOUR_SECONDS

    async def _delete_unverified(self) -> int:
        # All of an address together: a password is asked for as long as any other registration waits there.
        pending = select(User.email_key).where(User.status == Status.PENDING).group_by(User.email_key)
        old = pending.having(func.max(User.created_at) < func.now() - UNVERIFIED_TTL).order_by(User.email_key)
        async with self._database.begin() as db:
            addresses = (await db.scalars(old.limit(BATCH))).all()
            for email_key in addresses:
                await users.lock_email(db, email_key)
                await users.delete_unverified(db, email_key, User.created_at < func.now() - UNVERIFIED_TTL)
        return len(addresses)

    async def _erase_closed(self) -> bool:
        async with self._database.begin() as db:
            return await deletion.erase_next(db)

    async def _delete_audit_events(self) -> int:
        old = select(AuditEvent.id).where(AuditEvent.happened_at < func.now() - self._audit_retention)
        async with self._database.begin() as db:
            # The one way past the trigger that keeps them as they are, for this transaction alone.
            await db.execute(text("set local acme.audit_retention = 'on'"))
            some = old.limit(BATCH).with_for_update(skip_locked=True)
            gone = await db.scalars(
                delete(AuditEvent).where(AuditEvent.id.in_(some)).returning(AuditEvent.id)
            )
            return len(gone.all())


def workers(resources: Resources) -> Sequence[Worker]:
    """List the workers of this service."""
    assert isinstance(resources.settings, Settings)  # noqa: S101  # what create_app has passed on
    vault = Vault.from_settings(resources.settings, resources.http)
    return [
        *([VaultTokenRenewal(vault)] if vault.is_configured else []),
        OutboxRelay(resources.database, resources.redis, source="auth", readers=STREAM_READERS),
        Consumer(resources.database, resources.redis, service="auth", sources=SOURCES, handlers=HANDLERS),
        RetentionWorker(resources.database),
        ExpiryWorker(resources.database, timedelta(days=resources.settings.auth_audit_retention_days)),
    ]


if __name__ == "__main__":
    run_workers("auth", Settings.load(), workers)
