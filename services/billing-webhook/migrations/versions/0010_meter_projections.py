"""meter projections"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "meter_projections",
        sa.Column("record_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("event_name", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(30, 6), nullable=False),
        sa.Column("timestamp", TIME, nullable=False),
        sa.Column("cancels_id", sa.Uuid()),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_meter_projections")),
        sa.ForeignKeyConstraint(
            ["record_id"], ["usage_records.id"], name=op.f("fk_meter_projections_record_id_usage_records")
        ),
    )
    op.create_index(
        "ix_meter_projections_due",
        "meter_projections",
        ["next_attempt_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )


def downgrade() -> None:
    op.drop_table("meter_projections")
