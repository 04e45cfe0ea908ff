"""Refresh tokens: which client has used one up, so that nobody else is given its successor again."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("refresh_tokens", sa.Column("consumed_by", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("refresh_tokens", "consumed_by")
