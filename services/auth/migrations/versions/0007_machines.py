"""API keys of tenants, and the credentials of service accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

MOMENT = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
        sa.Column(
            "created_by", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("previous_digest", sa.LargeBinary),
        sa.Column("previous_expires_at", MOMENT),
        sa.Column("scopes", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("networks", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", MOMENT),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.Index("ix_api_keys_tenant", "tenant_id", "created_at", "id"),
    )
    op.create_table(
        "service_credentials",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id", ondelete="CASCADE")),
        sa.Column("scopes", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("public_jwk", postgresql.JSONB),
        sa.Column("key_version", sa.Integer, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
        sa.Column("revoked_at", MOMENT),
        sa.Column("last_used_at", MOMENT),
        sa.Index("ix_service_credentials_tenant", "tenant_id", "created_at", "id"),
    )


def downgrade() -> None:
    op.drop_table("service_credentials")
    op.drop_table("api_keys")
