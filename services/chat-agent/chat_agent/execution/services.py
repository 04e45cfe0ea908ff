"""What all runs of a process share."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from agents import RunConfig
from redis.asyncio import Redis
from servicekit.database import Database
from servicekit.http.service_tokens import ServiceClient
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions.builder import Graph
from chat_agent.agent_definitions.selection import AgentSelection, AgentSelector
from chat_agent.agent_definitions.variables import Values
from chat_agent.agents.tool import RunContext
from chat_agent.attachments.model_input import AttachmentReader
from chat_agent.budgets import Budgets
from chat_agent.clients.auth import MembershipClient
from chat_agent.clients.conversation import ConversationClient
from chat_agent.clients.tenant_http import TenantClients
from chat_agent.event_log.writer import EventWriter
from chat_agent.guardrails.taint import Taint
from chat_agent.http_tools.secrets import read_secret
from chat_agent.memory.embedder import Embedder
from chat_agent.model.prices import Catalogue
from chat_agent.model.tool_guard import ToolGuard
from chat_agent.models import Run
from chat_agent.provider_keys.keys import OWN_KEYS
from chat_agent.provider_keys.lookup import ProviderKeys
from chat_agent.runs.tool_calls import ToolCallJournal
from chat_agent.settings import Settings


@dataclass(frozen=True)
class RunServices:
    """The parts of the process that a run is executed with."""

    settings: Settings
    database: Database
    redis: Redis
    writer: EventWriter
    memberships: MembershipClient
    budgets: Budgets
    conversations: ServiceClient
    # Of the tools.
    http: TenantClients
    config: RunConfig
    # Checks what tools give.
    tool_guard: ToolGuard | None
    catalogue: Catalogue
    # Of memories; none where the operator has named no model.
    embedder: Embedder | None
    agents: AgentSelector
    provider_keys: ProviderKeys
    # The agents that a run began with, by name.
    build_agents: Callable[[UUID, AgentSelection, Values], Graph]
    # Claims the next run of a conversation, in the transaction that ends the run before it.
    claim_next: Callable[[AsyncSession, UUID], Awaitable[Run | None]]
    start: Callable[[Run], None]
    # There may be a history to summarize.
    compaction_due: asyncio.Event

    async def restore_agents(self, run: Run) -> AgentSelection:
        """Return the agents with which a run began; set the keys with which its tenant calls models."""
        OWN_KEYS.set(await self.provider_keys.of_tenant(run.tenant_id))
        return await self.agents.restore(run)

    def run_context(
        self, run: Run, conversations: ConversationClient, journal: ToolCallJournal, taint: Taint
    ) -> RunContext:
        """Return what the tools of a run reach."""
        room = self.settings.model_attachment_bytes
        return RunContext(
            tenant_id=run.tenant_id,
            user_id=run.user_id,
            run_id=run.id,
            conversation_id=run.conversation_id,
            http=self.http.find(run.tenant_id),
            conversations=conversations,
            journal=journal,
            taint=taint,
            tool_guard=self.tool_guard,
            attachments=AttachmentReader(self.database, run.tenant_id, run.user_id, room),
            read_secret=partial(read_secret, self.database, self.settings, run.tenant_id),
        )
