"""tools that the caller of a run executes"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("tool_outputs", "tool_calls"):
        op.add_column("runs", sa.Column(name, postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column("runs", sa.Column("first_agent", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "first_agent")
    op.drop_column("runs", "tool_calls")
    op.drop_column("runs", "tool_outputs")
