"""every call of a tool, and edited arguments"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

STATUSES = "status in ('running', 'completed', 'failed', 'timed_out')"


def upgrade() -> None:
    op.add_column("approvals", sa.Column("edited_arguments", sa.Text()))
    op.add_column("tool_calls", sa.Column("agent", sa.Text()))
    op.add_column(
        "tool_calls", sa.Column("is_idempotent", sa.Boolean(), server_default="false", nullable=False)
    )
    op.add_column("tool_calls", sa.Column("status", sa.Text(), server_default="running", nullable=False))
    op.add_column("tool_calls", sa.Column("attempt", sa.Integer(), server_default="1", nullable=False))
    op.add_column("tool_calls", sa.Column("error", sa.Text()))
    op.add_column("tool_calls", sa.Column("output_bytes", sa.Integer()))
    op.add_column("tool_calls", sa.Column("duration_ms", sa.Integer()))
    op.execute("update tool_calls set status = 'completed' where ended_at is not null")
    op.create_check_constraint("status", "tool_calls", STATUSES)
    op.create_check_constraint("ended", "tool_calls", "(status = 'running') = (ended_at is null)")


def downgrade() -> None:
    op.execute("delete from tool_calls where is_idempotent")
    op.drop_constraint("ended", "tool_calls", type_="check")
    op.drop_constraint("status", "tool_calls", type_="check")
    for column in ("duration_ms", "output_bytes", "error", "attempt", "status", "is_idempotent", "agent"):
        op.drop_column("tool_calls", column)
    op.drop_column("approvals", "edited_arguments")
