"""dispatches of Stripe's events to handlers, and what they have applied"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("stripe_events", sa.Column("dedupe_key", sa.Text()))
    op.execute("update stripe_events set dedupe_key = id")
    op.alter_column("stripe_events", "dedupe_key", nullable=False)
    op.create_unique_constraint(op.f("uq_stripe_events_dedupe_key"), "stripe_events", ["dedupe_key"])
    op.add_column("stripe_events", sa.Column("account", sa.Text()))
    op.add_column(
        "stripe_events",
        sa.Column("headers", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    )
    op.alter_column("stripe_events", "payload", nullable=True)
    op.create_index(op.f("ix_stripe_events_received_at"), "stripe_events", ["received_at"])
    op.create_table(
        "stripe_dispatches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_created", TIME, nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("ordering_key", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Uuid()),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("waits", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", TIME, server_default=sa.func.now()),
        sa.Column("lease_token", sa.Uuid()),
        sa.Column("leased_until", TIME),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("completed_at", TIME),
        sa.Column("replayed_at", TIME),
        sa.Column("replayed_by", sa.Text()),
        sa.Column("replay_reason", sa.Text()),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["stripe_events.id"],
            name=op.f("fk_stripe_dispatches_event_id_stripe_events"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_dispatches")),
        sa.UniqueConstraint("event_id", "handler", name=op.f("uq_stripe_dispatches_event_id_handler")),
    )
    op.create_index(
        "ix_stripe_dispatches_due",
        "stripe_dispatches",
        ["next_attempt_at"],
        postgresql_where=sa.text("status in ('pending', 'failed', 'unmapped')"),
    )
    op.create_index(
        "uq_stripe_dispatches_running",
        "stripe_dispatches",
        ["ordering_key"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index("ix_stripe_dispatches_status", "stripe_dispatches", ["status", "created_at"])
    op.create_table(
        "stripe_objects",
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("event_created", TIME, nullable=False),
        sa.Column("state", sa.Text()),
        sa.PrimaryKeyConstraint("handler", "object_id", name=op.f("pk_stripe_objects")),
    )
    op.create_table(
        "stripe_cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", TIME),
        sa.Column("started_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_stripe_cursors")),
    )


def downgrade() -> None:
    op.drop_table("stripe_cursors")
    op.drop_table("stripe_objects")
    op.drop_table("stripe_dispatches")
    op.drop_index("ix_stripe_events_received_at", "stripe_events")
    # The older code cannot read an event without its payload.
    op.execute("delete from stripe_events where payload is null")
    op.alter_column("stripe_events", "payload", nullable=False)
    op.drop_column("stripe_events", "headers")
    op.drop_column("stripe_events", "account")
    op.drop_column("stripe_events", "dedupe_key")
