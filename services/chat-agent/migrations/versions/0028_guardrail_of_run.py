"""the guardrail that ended a run"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("guardrail", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("guardrail_stage", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "guardrail_stage")
    op.drop_column("runs", "guardrail")
