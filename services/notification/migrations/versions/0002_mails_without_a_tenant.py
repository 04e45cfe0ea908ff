"""Mails that concern a person whatever the tenant."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("deliveries", "tenant_id", existing_type=sa.Uuid(), nullable=True)


def downgrade() -> None:
    # Where every mail has a tenant, these cannot be told of.
    op.execute("delete from deliveries where tenant_id is null")
    op.alter_column("deliveries", "tenant_id", existing_type=sa.Uuid(), nullable=False)
