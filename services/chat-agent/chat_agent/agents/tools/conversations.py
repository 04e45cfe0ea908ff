"""The tools for a person's earlier conversations."""

from typing import Annotated
from uuid import UUID

from agents import RunContextWrapper
from pydantic import Field

from chat_agent.agents.tool import RunContext, tool
from chat_agent.errors import ConversationNotFound


# What was said may be an answer that repeats what a page of the web says.
@tool(trusted=False)
async def search_conversations(
    context: RunContextWrapper[RunContext],
    query: Annotated[str, Field(min_length=1, max_length=200, description="The words to look for.")],
) -> str:
    """Search this person's earlier conversations."""
    matches = await context.context.conversations.search(query)
    if not matches:
        return "Nothing that was said before matches."
    return "\n".join(
        f"- {match.created_at:%Y-%m-%d} ({match.role}, conversation {match.conversation_id}): {match.snippet}"
        for match in matches
    )


@tool(needs_approval=True, idempotent=False)
async def forget_conversation(
    context: RunContextWrapper[RunContext],
    conversation_id: Annotated[str, Field(description="The id of the conversation, a UUID.")],
) -> str:
    """Delete for ever all that was said in one of this person's earlier conversations."""
    try:
        await context.context.conversations.clear(UUID(conversation_id))
    except (ValueError, ConversationNotFound):
        return f"There is no conversation {conversation_id!r}."
    return "All that was said in it is deleted."


TOOLS = [search_conversations, forget_conversation]
