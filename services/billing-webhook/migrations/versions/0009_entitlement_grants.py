"""entitlement grants"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "entitlement_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("feature_key", sa.Text(), nullable=False),
        sa.Column("limit", sa.Numeric(30, 6)),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entitlement_grants")),
    )
    op.create_index("ix_entitlement_grants_tenant_id", "entitlement_grants", ["tenant_id"])


def downgrade() -> None:
    op.drop_table("entitlement_grants")
