"""Conversations, their items, and the kept answers of idempotent requests."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

WORDS = "to_tsvector('simple', left(text, 100000)) || to_tsvector('english', left(text, 100000))"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("message_count", sa.Integer, nullable=False),
        sa.Column("last_message", sa.Text),
        sa.Column("last_position", sa.Integer, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("updated_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
    )
    op.create_index("ix_conversations_owner", "conversations", ["tenant_id", "user_id", "updated_at", "id"])
    op.create_table(
        "items",
        sa.Column(
            "conversation_id",
            sa.Uuid,
            sa.ForeignKey("conversations.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("data", postgresql.JSONB, nullable=False),
        sa.Column("role", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("words", postgresql.TSVECTOR, sa.Computed(WORDS, persisted=True)),
        sa.UniqueConstraint("conversation_id", "id"),
    )
    op.create_index("ix_items_words", "items", ["words"], postgresql_using="gin")
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.LargeBinary, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", postgresql.JSONB, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])


def downgrade() -> None:
    op.drop_table("idempotency_keys")
    op.drop_table("items")
    op.drop_table("conversations")
