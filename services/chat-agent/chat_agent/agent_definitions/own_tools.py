"""The HTTP tools of a tenant that definitions name: each names the version that it was saved with."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions.definition import AgentDefinition
from chat_agent.agent_definitions.validation import OwnTools
from chat_agent.http_tools import versions


def digests_of_tools(definitions: Iterable[AgentDefinition]) -> set[str]:
    """Return the versions of tools that definitions name."""
    return {use.digest for one in definitions for use in one.tools if use.digest}


async def own_tools(
    session: AsyncSession, tenant_id: UUID, definitions: Iterable[AgentDefinition]
) -> OwnTools:
    """Return the tools that definitions may name; none is read for those without tools."""
    has_tools = any(definition.tools for definition in definitions)
    return await versions.by_name(session, tenant_id) if has_tools else {}


async def pinned(session: AsyncSession, tenant_id: UUID, definition: AgentDefinition) -> AgentDefinition:
    """Return a definition that names the newest version of each tool for which it names none."""
    names = {use.name for use in definition.tools if use.digest is None}
    digests = await versions.newest(session, tenant_id, names) if names else {}
    if not digests:
        return definition
    tools = [
        use.model_copy(update={"digest": use.digest or digests.get(use.name)}) for use in definition.tools
    ]
    # Not a copy: that would have the digest of the original.
    members = {**definition.stored(), "tools": [one.model_dump() for one in tools]}
    return AgentDefinition.model_validate(members)
