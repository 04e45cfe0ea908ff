"""a digest of the outputs of a caller's tools, by which repetitions of a request are known"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("tool_outputs_digest", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "tool_outputs_digest")
