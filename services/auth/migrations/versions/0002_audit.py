"""The audit log, which grows and is never changed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

MOMENT = sa.TIMESTAMP(timezone=True)

# Only who clears away what is too old to be kept says so, for one transaction.
GUARD = """
create function keep_audit_events() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and current_setting('acme.audit_retention', true) = 'on' then
        return old;
    end if;
    raise exception 'audit events are never changed';
end
$$
"""
TRIGGER = """
create trigger keep_audit_events before update or delete on audit_events
    for each row execute function keep_audit_events()
"""


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "happened_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp(), index=True
        ),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Uuid),
        sa.Column("actor", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("session_id", sa.Uuid),
        sa.Column("address_digest", sa.LargeBinary),
        sa.Column("request_id", sa.Text),
        sa.Column("detail", postgresql.JSONB, nullable=False),
        sa.Index("ix_audit_events_tenant", "tenant_id", "happened_at", "id"),
        sa.Index("ix_audit_events_subject", "subject", "happened_at", "id"),
    )
    op.execute(GUARD)
    op.execute(TRIGGER)


def downgrade() -> None:
    op.drop_table("audit_events")
    op.execute("drop function keep_audit_events()")
