"""How much each person keeps: counted as it comes and goes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

# Whatever adds or removes conversations is counted, a whole statement at once; who has none left has no row.
COUNT_ADDED = """
create function count_added_conversations() returns trigger language plpgsql as $$
begin
    insert into usage (tenant_id, user_id, conversations, bytes)
    select tenant_id, user_id, count(*), sum(byte_count) from added group by tenant_id, user_id
    order by tenant_id, user_id
    on conflict (tenant_id, user_id) do update
        set conversations = usage.conversations + excluded.conversations,
            bytes = usage.bytes + excluded.bytes;
    return null;
end $$
"""
COUNT_REMOVED = """
create function count_removed_conversations() returns trigger language plpgsql as $$
begin
    update usage
    set conversations = usage.conversations - gone.conversations, bytes = usage.bytes - gone.bytes
    from (
        select tenant_id, user_id, count(*) as conversations, sum(byte_count) as bytes
        from removed group by tenant_id, user_id
    ) as gone
    where usage.tenant_id = gone.tenant_id and usage.user_id = gone.user_id;
    delete from usage using removed
    where usage.tenant_id = removed.tenant_id and usage.user_id = removed.user_id
        and usage.conversations <= 0;
    return null;
end $$
"""
TRIGGERS = {
    "conversations_added": "after insert on conversations referencing new table as added"
    " for each statement execute function count_added_conversations()",
    "conversations_removed": "after delete on conversations referencing old table as removed"
    " for each statement execute function count_removed_conversations()",
}


def upgrade() -> None:
    op.add_column("conversations", sa.Column("item_count", sa.Integer, nullable=False, server_default="0"))
    op.add_column("conversations", sa.Column("byte_count", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "usage",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("conversations", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.execute("lock table conversations, items in share row exclusive mode")
    op.execute("""
        update conversations set item_count = kept.items, byte_count = kept.bytes
        from (
            select conversation_id, count(*) as items, sum(octet_length(cast(data as text))) as bytes
            from items group by conversation_id
        ) as kept
        where kept.conversation_id = conversations.id
    """)
    op.execute("""
        insert into usage (tenant_id, user_id, conversations, bytes)
        select tenant_id, user_id, count(*), sum(byte_count) from conversations group by tenant_id, user_id
    """)
    op.execute(COUNT_ADDED)
    op.execute(COUNT_REMOVED)
    for name, when in TRIGGERS.items():
        op.execute(f"create trigger {name} {when}")


def downgrade() -> None:
    for name in TRIGGERS:
        op.execute(f"drop trigger {name} on conversations")
    op.execute("drop function count_added_conversations")
    op.execute("drop function count_removed_conversations")
    op.drop_table("usage")
    op.drop_column("conversations", "byte_count")
    op.drop_column("conversations", "item_count")
