"""Who has left for good."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leavers",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("heard_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("forgotten_at", sa.TIMESTAMP(timezone=True)),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_leavers")),
    )
    op.create_index(
        "ix_leavers_open", "leavers", ["user_id"], postgresql_where=sa.text("forgotten_at is null")
    )
    op.create_index("ix_deliveries_user_id", "deliveries", ["user_id"])


def downgrade() -> None:
    op.drop_index("ix_deliveries_user_id", "deliveries")
    op.drop_table("leavers")
