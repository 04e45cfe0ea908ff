"""What becomes of tenants, their settings, invites, and requests to sign up."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

NOW = sa.func.now()
MOMENT = sa.TIMESTAMP(timezone=True)
REASONS = ("logout", "logout_all", "token_reused", "account", "revoked", "evicted")
NEW_REASONS = ("membership", "tenant", "switched")
COLUMNS = (
    "status",
    "suspended_by_operator",
    "version",
    "purge_after",
    "default_locale",
    "invite_domains",
    "settings_version",
)


def upgrade() -> None:
    tenants()
    invites()
    signup_requests()
    end_reasons(*REASONS, *NEW_REASONS)


def downgrade() -> None:
    op.execute("update sessions set end_reason = 'account' where end_reason in ('membership', 'tenant')")
    op.execute("update sessions set end_reason = 'logout' where end_reason = 'switched'")
    end_reasons(*REASONS)
    op.drop_table("signup_requests")
    op.drop_table("invites")
    op.drop_index("ix_tenants_purge_after", "tenants")
    op.drop_constraint(op.f("ck_tenants_status"), "tenants")
    for column in COLUMNS:
        op.drop_column("tenants", column)


def tenants() -> None:
    def text(value: str) -> sa.TextClause:
        return sa.text(value)

    for column in (
        sa.Column("status", sa.String(32), nullable=False, server_default="active"),
        sa.Column("suspended_by_operator", sa.Boolean, nullable=False, server_default=text("false")),
        sa.Column("version", sa.Integer, nullable=False, server_default=text("1")),
        sa.Column("purge_after", MOMENT),
        sa.Column("default_locale", sa.Text),
        sa.Column("invite_domains", postgresql.ARRAY(sa.Text), nullable=False, server_default=text("'{}'")),
        sa.Column("settings_version", sa.Integer, nullable=False, server_default=text("1")),
    ):
        op.add_column("tenants", column)
    op.create_check_constraint("status", "tenants", "status in ('active', 'suspended', 'deleted')")
    op.create_index("ix_tenants_purge_after", "tenants", ["purge_after"])


def invites() -> None:
    op.create_table(
        "invites",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tenant_id", sa.Uuid, sa.ForeignKey("tenants.id", ondelete="CASCADE")),
        sa.Column("role", sa.String(32)),
        sa.Column("email", sa.Text),
        sa.Column("email_key", sa.Text),
        sa.Column("invited_by", sa.Uuid, sa.ForeignKey("users.id", ondelete="SET NULL"), index=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("max_uses", sa.Integer, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("expires_at", MOMENT, nullable=False, index=True),
        sa.Column("revoked_at", MOMENT),
        sa.CheckConstraint("role in ('viewer', 'member', 'admin', 'owner')", "role"),
        sa.Index("ix_invites_tenant", "tenant_id", "created_at", "id"),
    )


def signup_requests() -> None:
    op.create_table(
        "signup_requests",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("company", sa.Text, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("status", sa.String(32), nullable=False, server_default="pending"),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("decided_at", MOMENT),
        sa.Column("decided_by", sa.Uuid, sa.ForeignKey("users.id", ondelete="SET NULL")),
        sa.CheckConstraint("status in ('pending', 'approved', 'rejected')", "status"),
        sa.Index(
            "uq_signup_requests_pending",
            "email_key",
            unique=True,
            postgresql_where=sa.text("status = 'pending'"),
        ),
        sa.Index("ix_signup_requests_status", "status", "created_at", "id"),
    )


def end_reasons(*reasons: str) -> None:
    op.drop_constraint(op.f("ck_sessions_end_reason"), "sessions")
    allowed = ", ".join(f"'{reason}'" for reason in reasons)
    op.create_check_constraint("end_reason", "sessions", f"end_reason in ({allowed})")
