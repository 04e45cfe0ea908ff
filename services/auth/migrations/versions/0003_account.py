"""Passwords that were used before, the address that somebody wants instead, and the mails for both."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOMENT = sa.TIMESTAMP(timezone=True)
PURPOSES = ("email_verification",)
NEW_PURPOSES = ("password_reset", "email_change")


def upgrade() -> None:
    op.add_column("users", sa.Column("new_email", sa.Text))
    op.create_table(
        "passwords_before",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("replaced_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Index(None, "user_id", "replaced_at"),
    )
    purposes(*PURPOSES, *NEW_PURPOSES)


def downgrade() -> None:
    op.execute("delete from email_tokens where purpose in ('password_reset', 'email_change')")
    purposes(*PURPOSES)
    op.drop_table("passwords_before")
    op.drop_column("users", "new_email")


def purposes(*allowed: str) -> None:
    op.drop_constraint(op.f("ck_email_tokens_purpose"), "email_tokens")
    words = ", ".join(f"'{purpose}'" for purpose in allowed)
    op.create_check_constraint(op.f("ck_email_tokens_purpose"), "email_tokens", f"purpose in ({words})")
