"""limits of tokens that handoffs lower"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("runs", sa.Column("token_limit", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("runs", "token_limit")
