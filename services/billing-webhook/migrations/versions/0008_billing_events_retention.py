"""find old billing events"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_billing_events_occurred_at"), "billing_events", ["occurred_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_billing_events_occurred_at"), table_name="billing_events")
