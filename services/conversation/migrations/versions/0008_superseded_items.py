"""items that an edit or a regeneration has superseded"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("items", sa.Column("superseded_by", sa.Uuid(), nullable=True))


def downgrade() -> None:
    op.drop_column("items", "superseded_by")
