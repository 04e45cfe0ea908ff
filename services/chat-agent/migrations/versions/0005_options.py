"""what a caller sets for a run, and whether its answer was cut"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("options", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("runs", sa.Column("is_truncated", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("runs", "is_truncated")
    op.drop_column("runs", "options")
