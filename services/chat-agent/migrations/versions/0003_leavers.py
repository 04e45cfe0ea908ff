"""who has left for good, and which tenants are no more"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "leavers",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("heard_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("forgotten_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_leavers")),
    )
    op.create_index(
        "ix_leavers_open", "leavers", ["user_id"], postgresql_where=sa.text("forgotten_at is null")
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purge_after", MOMENT, nullable=True),
        sa.Column("forgotten_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_index(op.f("ix_tenants_purge_after"), "tenants", ["purge_after"])
    op.create_table(
        "inbox",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("handled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_inbox")),
    )
    op.create_index(op.f("ix_inbox_handled_at"), "inbox", ["handled_at"])
    op.create_index("ix_runs_user_id", "runs", ["user_id"])


def downgrade() -> None:
    op.drop_index("ix_runs_user_id", "runs")
    op.drop_table("inbox")
    op.drop_table("tenants")
    op.drop_table("leavers")
