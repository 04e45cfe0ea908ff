"""Several pending registrations of one address: an address is one account from its confirmation on."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

# The one that was there first stays, and an account before all registrations.
SURPLUS = """
delete from users where status = 'pending' and exists (
    select from users as other where other.email_key = users.email_key and other.id <> users.id
    and (other.status <> 'pending' or (other.created_at, other.id) < (users.created_at, users.id))
)
"""


def upgrade() -> None:
    op.drop_constraint("uq_users_email_key", "users", type_="unique")
    op.create_index("ix_users_email_key", "users", ["email_key"])
    op.create_index(
        "uq_users_email_key",
        "users",
        ["email_key"],
        unique=True,
        postgresql_where=sa.text("status <> 'pending'"),
    )


def downgrade() -> None:
    op.execute(SURPLUS)
    op.drop_index("uq_users_email_key", "users")
    op.drop_index("ix_users_email_key", "users")
    op.create_unique_constraint("uq_users_email_key", "users", ["email_key"])
