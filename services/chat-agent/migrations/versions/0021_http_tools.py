"""HTTP tools of tenants"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "http_tools",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", postgresql.JSONB(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("replaced_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_http_tools")),
    )
    op.create_index(
        "uq_http_tools_name",
        "http_tools",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("replaced_at is null"),
    )
    op.create_index("uq_http_tools_number", "http_tools", ["tenant_id", "name", "number"], unique=True)
    op.create_index(op.f("ix_http_tools_digest"), "http_tools", ["tenant_id", "digest"])
    op.create_index(op.f("ix_http_tools_replaced_at"), "http_tools", ["replaced_at"])


def downgrade() -> None:
    op.drop_table("http_tools")
