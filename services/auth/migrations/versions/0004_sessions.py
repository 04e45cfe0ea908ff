"""Where sessions come from, what was revoked, and how often somebody failed to sign in."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

MOMENT = sa.TIMESTAMP(timezone=True)
BEFORE = "'logout', 'logout_all', 'token_reused', 'account'"


def upgrade() -> None:
    op.add_column("users", sa.Column("failed_sign_ins", sa.Integer, nullable=False, server_default="0"))
    op.add_column("sessions", sa.Column("last_seen_at", MOMENT))
    op.execute("update sessions set last_seen_at = created_at")
    op.alter_column("sessions", "last_seen_at", nullable=False)
    op.add_column("sessions", sa.Column("device_id", sa.Uuid))
    op.add_column("sessions", sa.Column("address_digest", sa.LargeBinary))
    op.add_column("sessions", sa.Column("origin", sa.Text))
    end_reasons(f"{BEFORE}, 'revoked', 'evicted'")
    op.create_table(
        "revocations",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("revoked_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp(), index=True),
    )
    op.create_index(
        "ix_audit_events_sign_ins",
        "audit_events",
        ["subject", "address_digest"],
        postgresql_where=sa.text("action = 'authn_login_success'"),
    )


def downgrade() -> None:
    op.drop_index("ix_audit_events_sign_ins", "audit_events")
    op.drop_table("revocations")
    op.execute("update sessions set end_reason = 'logout' where end_reason in ('revoked', 'evicted')")
    end_reasons(BEFORE)
    for column in ("origin", "address_digest", "device_id", "last_seen_at"):
        op.drop_column("sessions", column)
    op.drop_column("users", "failed_sign_ins")


def end_reasons(allowed: str) -> None:
    op.execute("alter table sessions drop constraint ck_sessions_end_reason")
    op.create_check_constraint("end_reason", "sessions", f"end_reason in ({allowed})")
