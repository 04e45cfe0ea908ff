"""leases of token refreshes"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("refresh_lease_expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True)
    op.add_column("mcp_sign_ins", column)


def downgrade() -> None:
    op.drop_column("mcp_sign_ins", "refresh_lease_expires_at")
