"""Temporary conversations: in no list and no search, not counted, and deleted when their time is over."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ADDED = """
create or replace function count_added_conversations() returns trigger language plpgsql as $$
begin
    insert into usage (tenant_id, user_id, conversations, bytes)
    select tenant_id, user_id, {count}, sum(byte_count) from added group by tenant_id, user_id
    order by tenant_id, user_id
    on conflict (tenant_id, user_id) do update
        set conversations = usage.conversations + excluded.conversations,
            bytes = usage.bytes + excluded.bytes;
    return null;
end $$
"""
REMOVED = """
create or replace function count_removed_conversations() returns trigger language plpgsql as $$
begin
    update usage
    set conversations = usage.conversations - gone.conversations, bytes = usage.bytes - gone.bytes
    from (
        select tenant_id, user_id, {count} as conversations, sum(byte_count) as bytes
        from removed group by tenant_id, user_id
    ) as gone
    where usage.tenant_id = gone.tenant_id and usage.user_id = gone.user_id;
    delete from usage using removed
    where usage.tenant_id = removed.tenant_id and usage.user_id = removed.user_id
        and {is_empty};
    return null;
end $$
"""
# A temporary conversation is continued, and stays.
RETAINED = """
create function count_retained_conversation() returns trigger language plpgsql as $$
begin
    update usage set conversations = conversations + 1
    where tenant_id = new.tenant_id and user_id = new.user_id;
    return null;
end $$
"""
ONLY_LASTING = "count(*) filter (where expires_at is null)"


def upgrade() -> None:
    op.add_column("conversations", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_conversations_expires_at",
        "conversations",
        ["expires_at"],
        postgresql_where=sa.text("expires_at is not null"),
    )
    op.execute(ADDED.format(count=ONLY_LASTING))
    is_empty = "usage.conversations <= 0 and usage.bytes <= 0"
    op.execute(REMOVED.format(count=ONLY_LASTING, is_empty=is_empty))
    op.execute(RETAINED)
    op.execute(
        "create trigger conversations_retained after update on conversations for each row"
        " when (old.expires_at is not null and new.expires_at is null)"
        " execute function count_retained_conversation()"
    )


def downgrade() -> None:
    op.execute("drop trigger conversations_retained on conversations")
    op.execute("drop function count_retained_conversation")
    op.execute("delete from conversations where expires_at is not null")
    op.execute(ADDED.format(count="count(*)"))
    op.execute(REMOVED.format(count="count(*)", is_empty="usage.conversations <= 0"))
    op.drop_index("ix_conversations_expires_at", "conversations")
    op.drop_column("conversations", "expires_at")
