"""What all runs of a process share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from agents import Agent, RunConfig
from redis.asyncio import Redis
from servicekit.database import Database
from servicekit.http.service_tokens import ServiceClient
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agents.tool import RunContext
from chat_agent.budgets import Budgets
from chat_agent.clients.auth import MembershipClient
from chat_agent.event_log.writer import EventWriter
from chat_agent.models import Run
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
    config: RunConfig
    # The agent of a name, for a tenant.
    find_agent: Callable[[UUID, str], Agent[RunContext] | None]
    # Claims the next run of a conversation, in the transaction that ends the run before it.
    claim_next: Callable[[AsyncSession, UUID], Awaitable[Run | None]]
    start: Callable[[Run], None]
