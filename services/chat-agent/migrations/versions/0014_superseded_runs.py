"""which run has superseded a run"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("superseded_by", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "superseded_by")
