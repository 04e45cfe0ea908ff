"""API keys: who was given the secret before, and what becomes of keys whose holders may hold none."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("previous_created_by", sa.Uuid))
    op.create_foreign_key(
        op.f("fk_api_keys_previous_created_by_users"),
        "api_keys",
        "users",
        ["previous_created_by"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index(op.f("ix_api_keys_previous_created_by"), "api_keys", ["previous_created_by"])
    op.execute("update api_keys set previous_created_by = created_by where previous_digest is not null")
    op.add_column(
        "tenants", sa.Column("orphaned_api_keys", sa.String(32), nullable=False, server_default="stop")
    )
    op.create_check_constraint(
        op.f("ck_tenants_orphaned_api_keys"), "tenants", "orphaned_api_keys in ('stop', 'keep')"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_tenants_orphaned_api_keys"), "tenants")
    op.drop_column("tenants", "orphaned_api_keys")
    op.drop_index(op.f("ix_api_keys_previous_created_by"), "api_keys")
    op.drop_constraint(op.f("fk_api_keys_previous_created_by_users"), "api_keys")
    op.drop_column("api_keys", "previous_created_by")
