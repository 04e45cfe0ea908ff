"""keys of providers of tenants' own"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_index(
        "ix_tenant_secrets_provider_keys",
        "tenant_secrets",
        ["tenant_id"],
        postgresql_where=sa.text("kind = 'provider_key'"),
    )


def downgrade() -> None:
    op.drop_index("ix_tenant_secrets_provider_keys", "tenant_secrets")
    op.execute("delete from tenant_secrets where kind = 'provider_key'")
