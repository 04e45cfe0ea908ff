"""The tool that searches the web, with Tavily (https://docs.tavily.com/documentation/api-reference)."""

from http import HTTPStatus
from typing import Annotated

import httpx2
from agents import RunContextWrapper
from pydantic import BaseModel, Field, ValidationError

from chat_agent.agents.tool import RunContext, tool
from chat_agent.errors import ToolFailed
from chat_agent.tool_settings import WebSearchSettings

MAX_CONTENT = 1000
# Of Tavily: the limit of the plan, and of what is paid for as it is used.
OVER_LIMIT = {HTTPStatus.TOO_MANY_REQUESTS, 432, 433}


class Page(BaseModel):
    """A page that was found."""

    title: str
    url: str
    content: str


class Results(BaseModel):
    """The response of Tavily."""

    results: list[Page]


@tool(trusted=False, retries=1)
async def web_search(
    context: RunContextWrapper[RunContext],
    query: Annotated[str, Field(min_length=1, max_length=400, description="What to search for.")],
    max_results: Annotated[int, Field(ge=1, le=10)] = 5,
) -> str:
    """Search the web. Cite a page that you use as a Markdown link: [title](url)."""
    settings = context.context.settings(WebSearchSettings)
    if settings.tavily_api_key is None:
        raise ToolFailed("Web search is not set up: the operator has set no TAVILY_API_KEY.")
    response = await context.context.http.post(
        f"{settings.tavily_base_url}/search",
        json={"query": query, "max_results": max_results},
        headers={"Authorization": f"Bearer {settings.tavily_api_key.get_secret_value()}"},
    )
    pages = pages_of(response)
    if not pages:
        return "No page was found."
    return "\n\n".join(
        f"[{page.title}]({page.url})\n{page.content[:MAX_CONTENT]}" for page in pages[:max_results]
    )


TOOLS = [web_search]


def pages_of(response: httpx2.Response) -> list[Page]:
    """Return the pages of a response; raises ToolFailed."""
    if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise ToolFailed("Web search refused the operator's TAVILY_API_KEY.")
    if response.status_code in OVER_LIMIT:
        raise ToolFailed("The limit of web searches is reached. Try again later.")
    if response.is_error:
        raise ToolFailed("Web search does not answer.")
    try:
        return Results.model_validate_json(response.content).results
    except ValidationError:
        raise ToolFailed("The response of web search cannot be read.") from None
