"""how long what is said in a run is stored"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("persistence", sa.Text(), server_default="permanent", nullable=False))
    op.create_check_constraint(
        op.f("ck_runs_persistence"), "runs", "persistence in ('permanent', 'temporary', 'none')"
    )


def downgrade() -> None:
    op.drop_column("runs", "persistence")
