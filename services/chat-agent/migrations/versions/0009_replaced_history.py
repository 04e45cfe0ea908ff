"""runs whose client has another history than is stored"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("replaces_history", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("runs", "replaces_history")
