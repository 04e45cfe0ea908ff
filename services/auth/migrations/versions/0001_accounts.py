"""Accounts, tenants, sessions, the tokens of mails, and the outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

NOW = sa.func.now()
MOMENT = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    accounts()
    sessions()
    email_tokens()
    outbox()


def downgrade() -> None:
    for table in ("outbox", "email_tokens", "refresh_tokens", "sessions", "memberships", "tenants", "users"):
        op.drop_table(table)


def accounts() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False, unique=True),
        sa.Column("display_name", sa.Text),
        sa.Column("password_hash", sa.Text),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("email_verified_at", MOMENT),
        sa.Column("terms_accepted_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.CheckConstraint("status in ('pending', 'active', 'disabled')", "status"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("slug", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
    )
    op.create_table(
        "memberships",
        sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True
        ),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.CheckConstraint("role in ('viewer', 'member', 'admin', 'owner')", "role"),
    )


def sessions() -> None:
    reasons = "end_reason in ('logout', 'logout_all', 'token_reused', 'account')"
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column(
            "tenant_id", sa.Uuid, sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("key", sa.LargeBinary, nullable=False),
        sa.Column("amr", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
        sa.Column("ended_at", MOMENT),
        sa.Column("end_reason", sa.String(32)),
        sa.CheckConstraint(reasons, "end_reason"),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("session_id", sa.Uuid, sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
        sa.Column("consumed_at", MOMENT),
        sa.UniqueConstraint("session_id", "generation"),
    )


def email_tokens() -> None:
    op.create_table(
        "email_tokens",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("email_key", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
        sa.Column("used_at", MOMENT),
        sa.CheckConstraint("purpose in ('email_verification')", "purpose"),
        sa.Index(None, "user_id", "purpose"),
    )


def outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("seq", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Uuid),
        sa.Column("time", MOMENT, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("data", postgresql.JSONB, nullable=False),
        sa.Column("published_at", MOMENT, index=True),
        sa.Index(None, "seq", postgresql_where=sa.text("published_at is null")),
    )
