"""Accounts that are closed, and erased later."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

STATUSES = ("pending", "active", "disabled")
PURPOSES = ("email_verification", "password_reset", "email_change", "magic_link")


def upgrade() -> None:
    op.add_column("users", sa.Column("erase_after", sa.TIMESTAMP(timezone=True)))
    op.create_index("ix_users_erase_after", "users", ["erase_after"])
    one_of("users", "status", *STATUSES, "closing")
    one_of("email_tokens", "purpose", *PURPOSES, "account_restore")


def downgrade() -> None:
    op.execute("delete from email_tokens where purpose = 'account_restore'")
    # The older version erases nothing later; what was closed stays closed.
    op.execute("update users set status = 'disabled' where status = 'closing'")
    one_of("email_tokens", "purpose", *PURPOSES)
    one_of("users", "status", *STATUSES)
    op.drop_index("ix_users_erase_after", "users")
    op.drop_column("users", "erase_after")


def one_of(table: str, column: str, *allowed: str) -> None:
    op.drop_constraint(op.f(f"ck_{table}_{column}"), table)
    words = ", ".join(f"'{word}'" for word in allowed)
    op.create_check_constraint(op.f(f"ck_{table}_{column}"), table, f"{column} in ({words})")
