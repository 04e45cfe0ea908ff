"""runs by the calls of their callers' tools"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_runs_tool_calls",
        "runs",
        ["tool_calls"],
        postgresql_using="gin",
        postgresql_ops={"tool_calls": "jsonb_path_ops"},
        postgresql_where="tool_calls <> '[]'",
    )


def downgrade() -> None:
    op.drop_index("ix_runs_tool_calls", "runs")
