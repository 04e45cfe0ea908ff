"""The trace of whoever asked for a mail, in which it is sent."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("traceparent", sa.Text()))


def downgrade() -> None:
    op.drop_column("deliveries", "traceparent")
