"""What agents can do besides talking. A tool is one function; its docstring is what the model reads."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agents import FunctionTool, RunContextWrapper, function_tool
from pydantic import Field

from chat_agent.conversations import Conversations

TOOL_SECONDS = 15.0


@dataclass(frozen=True)
class RunContext:
    """For whom a run works; tools reach what is theirs through it. The model never sees it."""

    conversations: Conversations


@function_tool(timeout=TOOL_SECONDS)
async def current_time(
    timezone: Annotated[str, Field(description="An IANA name, such as Europe/Vienna.")] = "UTC",
) -> str:
    """Tell the current date and time."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return f"There is no time zone called {timezone!r}; use an IANA name such as Europe/Vienna."
    return datetime.now(UTC).astimezone(zone).isoformat(timespec="seconds")


@function_tool(timeout=TOOL_SECONDS)
async def search_conversations(
    context: RunContextWrapper[RunContext],
    query: Annotated[str, Field(min_length=1, max_length=200, description="The words to look for.")],
) -> str:
    """Search what this person said and heard in earlier conversations."""
    found = await context.context.conversations.search(query)
    if not found:
        return "Nothing that was said before matches."
    return "\n".join(f"- {match.created_at:%Y-%m-%d} ({match.role}): {match.snippet}" for match in found)


TOOLS: dict[str, list[FunctionTool]] = {"time": [current_time], "memory": [search_conversations]}
