"""who has left for good, which tenants are no more, and a ledger that can forget whose it was"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.TIMESTAMP(timezone=True)

# Who used it may be forgotten; what was used, when and in which tenant stays as it was entered.
ONLY_FORGET = """
create function only_forget_who() returns trigger language plpgsql as $$
declare
    was usage_entries := old;
begin
    was.user_id := new.user_id;
    if new.user_id <> 'user:00000000-0000-0000-0000-000000000000' or new is distinct from was then
        raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end $$
"""
FORGETFUL = """
create trigger usage_entries_only_forget before update on usage_entries
for each row execute function only_forget_who()
"""
APPEND_ONLY = """
create trigger usage_entries_append_only before {changes} on usage_entries
for each statement execute function refuse_changes()
"""


def upgrade() -> None:
    op.create_table(
        "leavers",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("heard_at", TIME, server_default=sa.func.now(), nullable=False),
        sa.Column("forgotten_at", TIME),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_leavers")),
    )
    op.create_index(
        "ix_leavers_open", "leavers", ["user_id"], postgresql_where=sa.text("forgotten_at is null")
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purge_after", TIME),
        sa.Column("forgotten_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_index("ix_tenants_purge_after", "tenants", ["purge_after"])
    op.create_index("ix_usage_entries_user_id", "usage_entries", ["user_id"])
    op.execute(ONLY_FORGET)
    op.execute(FORGETFUL)
    op.execute("drop trigger usage_entries_append_only on usage_entries")
    op.execute(APPEND_ONLY.format(changes="delete"))


def downgrade() -> None:
    op.execute("drop trigger usage_entries_append_only on usage_entries")
    op.execute(APPEND_ONLY.format(changes="update or delete"))
    op.execute("drop trigger usage_entries_only_forget on usage_entries")
    op.execute("drop function only_forget_who()")
    op.drop_index("ix_usage_entries_user_id", "usage_entries")
    op.drop_table("tenants")
    op.drop_table("leavers")
