"""Full text search of Postgres in the caller's conversations."""

from uuid import UUID

from pydantic import TypeAdapter
from servicekit.auth.tokens import Principal
from servicekit.pagination import Moment, next_cursor, read_cursor
from servicekit.schemas import Page
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from conversation import schemas, search_query
from conversation.items import Position

# English words match by their stem, words of every language as they are, and of scripts without spaces each
# two neighbours. Snippets are made only for the rows returned: making one reads the whole message again.
SEARCH = text("""
    with parsed as (
        select websearch_to_tsquery('simple', :query) as plain,
            websearch_to_tsquery('english', :query) as stemmed
    ), query as (
        -- English drops stop words: of "the -cats", only "everything without cats" would remain.
        select plain, stemmed,
            case when querytree(stemmed) in ('', 'T') then plain else plain || stemmed end as either
        from parsed
    ), matches as (
        select conversation_id, title, role, items.created_at, position, plain, stemmed, text,
            left(normalize(left(text, 100000), NFKC), 100000) as beginning
        from query, items join conversations on conversations.id = conversation_id
        where tenant_id = :tenant_id and user_id = :user_id and expires_at is null and superseded_by is null
            and words @@ either
            and (cast(:created_at as timestamptz) is null or (items.created_at, conversation_id, position)
                < (cast(:created_at as timestamptz), cast(:conversation_id as uuid),
                    cast(:position as integer)))
        order by items.created_at desc, conversation_id desc, position desc
        limit :limit
    )
    select conversation_id, title, role, created_at, position,
        case when length(left(text, 201)) <= 200 then text
            when strpos(beginning, :unspaced) > 0
                then substr(beginning, greatest(strpos(beginning, :unspaced) - 60, 1), 200)
            when to_tsvector('simple', beginning) @@ plain
                then ts_headline('simple', beginning, plain, :options)
            else ts_headline('english', beginning, stemmed, :options)
        end as snippet
    from matches order by created_at desc, conversation_id desc, position desc
""")
# No marks around the matches: a client that rendered them would have to trust the whole snippet.
OPTIONS = 'StartSel="", StopSel="", MinWords=10, MaxWords=30, MaxFragments=2, FragmentDelimiter=" … "'

BY_MATCH = TypeAdapter(tuple[Moment, UUID, Position])


async def search(
    db: AsyncSession, caller: Principal, query: str, limit: int, cursor: str | None = None
) -> Page[schemas.SearchResult]:
    """Search messages by words, "phrases", `or` and `-without`, newest first."""
    created_at, conversation_id, position = (
        read_cursor(cursor, BY_MATCH, str, str, int) if cursor is not None else (None, None, None)
    )
    normalized = search_query.normalize(query)
    result = await db.execute(
        SEARCH,
        {
            "query": search_query.rewrite(normalized),
            "unspaced": search_query.first_unspaced(normalized),
            "tenant_id": caller.tenant_id,
            "user_id": caller.user_id,
            "created_at": created_at,
            "conversation_id": conversation_id,
            "position": position,
            "limit": limit + 1,
            "options": OPTIONS,
        },
    )
    rows = result.all()
    matches = [schemas.SearchResult.model_validate(row) for row in rows[:limit]]
    return Page(
        items=matches, next_cursor=next_cursor(rows, limit, "created_at", "conversation_id", "position")
    )
