"""Who has left for good, and what is forgotten of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "leavers",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("heard_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("forgotten_at", MOMENT),
    )
    op.create_index(
        "ix_leavers_open", "leavers", ["user_id"], postgresql_where=sa.text("forgotten_at is null")
    )
    op.add_column("tenants", sa.Column("forgotten_at", MOMENT))
    op.create_index("ix_conversations_user_id", "conversations", ["user_id"])


def downgrade() -> None:
    op.drop_index("ix_conversations_user_id", "conversations")
    op.drop_column("tenants", "forgotten_at")
    op.drop_table("leavers")
