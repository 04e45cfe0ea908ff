"""the call within which an agent that is a tool makes another"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
TABLES = ("tool_calls", "approvals")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("parent_call_id", sa.Text))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "parent_call_id")
