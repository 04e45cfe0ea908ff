"""conversations whose history is to be summarized"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "compactions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("conversation_id", sa.Uuid(), nullable=False, unique=True),
        sa.Column("run_id", sa.Uuid(), sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("summary", postgresql.JSONB()),
    )
    op.create_index("ix_compactions_due_at", "compactions", ["due_at"])
    op.create_index("ix_compactions_run_id", "compactions", ["run_id"])


def downgrade() -> None:
    op.drop_table("compactions")
