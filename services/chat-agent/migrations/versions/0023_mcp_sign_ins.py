"""sign-ins of persons for mcp servers"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "mcp_sign_ins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="needs_login", nullable=False),
        sa.Column("state_hash", sa.Text(), nullable=True),
        sa.Column("attempt_expires_at", TIME, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "state in ('connected', 'needs_login', 'revoked')", name=op.f("ck_mcp_sign_ins_state")
        ),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["mcp_servers.id"],
            name=op.f("fk_mcp_sign_ins_server_id_mcp_servers"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mcp_sign_ins")),
    )
    op.create_index("uq_mcp_sign_ins_person", "mcp_sign_ins", ["server_id", "user_id"], unique=True)
    op.create_index("ix_mcp_sign_ins_user_id", "mcp_sign_ins", ["user_id"])
    op.add_column("approvals", sa.Column("sign_in", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("approvals", "sign_in")
    op.drop_table("mcp_sign_ins")
