"""with how many items a run began"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("input_count", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    op.drop_column("runs", "input_count")
