"""The tool for the time."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field

from chat_agent.agents.tool import tool


@tool()
async def current_time(
    timezone: Annotated[str, Field(description="An IANA name, such as Europe/Vienna.")] = "UTC",
) -> str:
    """Return the current date and time."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return f"There is no time zone called {timezone!r}; use an IANA name such as Europe/Vienna."
    return datetime.now(UTC).astimezone(zone).isoformat(timespec="seconds")


TOOLS = [current_time]
