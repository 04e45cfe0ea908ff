"""The table of the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from auth.models.base import Base


class AuditEvent(Base):
    """A security event; the database permits no change of it.

    No foreign keys: it outlives the person and the tenant that it tells of. `address_digest` is keyed, and
    equal for equal addresses.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_tenant", "tenant_id", "happened_at", "id"),
        Index("ix_audit_events_subject", "subject", "happened_at", "id"),
        # From where has this person been inside? Asked at every attempt to sign in.
        Index(
            "ix_audit_events_sign_ins",
            "subject",
            "address_digest",
            postgresql_where=text("action = 'authn_login_success'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    happened_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
    action: Mapped[str]
    tenant_id: Mapped[UUID | None]
    # Who did it, and to whom: `user:...`, `service:...`; nobody where nobody was known.
    actor: Mapped[str | None]
    subject: Mapped[str | None]
    session_id: Mapped[UUID | None]
    address_digest: Mapped[bytes | None]
    request_id: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
