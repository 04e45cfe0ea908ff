"""Search finds words of scripts without spaces inside a sentence, and every spelling of a Unicode text."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

OLD_WORDS = "to_tsvector('simple', left(text, 100000)) || to_tsvector('english', left(text, 100000))"
# Chinese, Japanese, Korean, Thai, Lao, Burmese and Khmer; `conversation.search_query` has the same.
LETTERS = (
    r"\u3005-\u3007\u3041-\u309F\u30A1-\u30FA\u30FC-\u30FF\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7AF"
    r"\uF900-\uFAFF\U00020000-\U0003FFFD\u0E01-\u0E3A\u0E40-\u0E4E\u0E81-\u0ECD\u1000-\u103F\u1780-\u17D3"
)
# Of these, each two neighbours are a word, and each alone. Only the first 20,000 characters are split:
# the words of a text must stay below Postgres's limit of 1 MiB.
SPLIT_UNSPACED = rf"""
create function split_unspaced(message text) returns text
language sql immutable strict parallel safe as $$
    select case when message ~ '[{LETTERS}]' then
        regexp_replace(
            regexp_replace(left(message, 20000), '(?<=[{LETTERS}])([{LETTERS}])(?=[{LETTERS}])', '\1\1', 'g'),
            '([{LETTERS}]{{1,2}})', ' \1 ', 'g'
        ) || substr(message, 20001)
    else message end
$$
"""
SINGLE_UNSPACED = rf"""
create function single_unspaced(message text) returns text
language sql immutable strict parallel safe as $$
    select case when message ~ '[{LETTERS}]' then
        regexp_replace(
            regexp_replace(left(message, 20000), '[^{LETTERS}]+', '', 'g'), '([{LETTERS}])', '\1 ', 'g'
        )
    else '' end
$$
"""
SEARCH_WORDS = """
create function search_words(message text) returns tsvector
language sql immutable strict parallel safe as $$
    select to_tsvector('pg_catalog.simple', split_unspaced(shortened))
        || to_tsvector('pg_catalog.english', shortened)
        || to_tsvector('pg_catalog.simple', single_unspaced(shortened))
    from (select left(normalize(left(message, 100000), NFKC), 100000) as shortened) as normalized
$$
"""


def upgrade() -> None:
    for function in (SPLIT_UNSPACED, SINGLE_UNSPACED, SEARCH_WORDS):
        op.execute(function)
    replace_words("search_words(text)")


def downgrade() -> None:
    replace_words(OLD_WORDS)
    for function in ("search_words", "single_unspaced", "split_unspaced"):
        op.execute(f"drop function {function}(text)")


def replace_words(expression: str) -> None:
    """Compute the words of all messages anew; the table is locked meanwhile."""
    op.drop_column("items", "words")
    words = sa.Column("words", postgresql.TSVECTOR, sa.Computed(expression, persisted=True))
    op.add_column("items", words)
    op.create_index("ix_items_words", "items", ["words"], postgresql_using="gin")
