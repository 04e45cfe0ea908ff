"""the definition of a dry run, which is no version of an agent"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.add_column("runs", sa.Column("definition", postgresql.JSONB()))


def downgrade() -> None:
    op.drop_column("runs", "definition")
