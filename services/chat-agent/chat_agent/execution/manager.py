"""The runs that this process executes; none depends on the connection of the client that started it."""

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from agents import Agent
from opentelemetry import trace
from redis.exceptions import RedisError
from servicekit import context
from servicekit.app import Resources
from servicekit.auth.end_users import application_of
from servicekit.auth.tokens import Principal
from servicekit.database import Database
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agent_definitions.builder import AgentBuilder, Graph
from chat_agent.agent_definitions.selection import AgentSelection, AgentSelector
from chat_agent.agent_definitions.variables import Values
from chat_agent.budgets import Budgets
from chat_agent.clients.auth import SCOPE as MEMBERS_SCOPE
from chat_agent.clients.auth import MembershipClient
from chat_agent.clients.billing import SCOPE as BILLING_SCOPE
from chat_agent.clients.billing import BillingClient
from chat_agent.clients.conversation import SCOPE, ConversationClient
from chat_agent.clients.tenant_http import TenantClients
from chat_agent.direct_models import find_model
from chat_agent.event_log.store import EventSource, EventStore
from chat_agent.event_log.writer import EventWriter
from chat_agent.execution.active_run import ActiveRun
from chat_agent.execution.agent_graph import AgentProfile, names_of
from chat_agent.execution.final_events import TerminalEventRepair
from chat_agent.execution.services import RunServices
from chat_agent.execution.signals import Signals
from chat_agent.guardrails.messages import MessageGuard
from chat_agent.isolation import IN_RUN
from chat_agent.mcp_servers.access import McpAccess
from chat_agent.memory.embedder import embedder_of
from chat_agent.model import provider
from chat_agent.model.prices import Catalogue
from chat_agent.models import FINISHED, Run
from chat_agent.provider_keys.lookup import ProviderKeys
from chat_agent.runs import leases
from chat_agent.runs.leases import Lease
from chat_agent.settings import Settings
from chat_agent.task_set import TaskSet
from chat_agent.tool_settings import WebSearchSettings, load_settings

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

# How long a process that stops waits for runs that are about to end.
FINISH_SECONDS = 5.0
# As many more are opened when both are in use: one renews, one claims.
LEASE_CONNECTIONS = 1


class RunManager:
    """Starts and stops the runs of this process."""

    def __init__(self, resources: Resources, settings: Settings) -> None:
        self.settings = settings
        owner = f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}"  # a name
        self.lease = Lease(owner, timedelta(seconds=settings.run_lease_seconds))
        self.database = resources.database
        # Requests that use up the pool of the others must not delay a renewal: the runs would be claimed.
        self.lease_database = Database.from_settings(settings, f"{resources.name}-leases", LEASE_CONNECTIONS)
        self.verifier = resources.verifier
        self.writer = EventWriter(resources.redis)
        self.signals = Signals(resources.redis, self.on_signal)
        self.repair = TerminalEventRepair(resources.database, resources.redis, settings)
        self.active: dict[UUID, ActiveRun] = {}
        # Also of runs that were abandoned, and are not active any more.
        self._tasks = TaskSet()
        self.is_closing = False
        # There may be a run to claim: see `RunClaimer`.
        self.claim_due = asyncio.Event()
        self.redis = resources.redis
        self.catalogue = Catalogue.from_settings(settings)
        self._models = provider.build_provider(settings, resources.redis)
        self.selector = AgentSelector(resources.database)
        self.plain_calls = self._models.plain_calls
        self.provider_keys = ProviderKeys(resources.database, settings.secret_keys)
        self.guard = MessageGuard(settings.guardrails)
        self._http = TenantClients(settings.tool_private_hosts | {load_settings(WebSearchSettings).host})
        self.mcp = McpAccess(
            resources.database, self._http, settings.tool_private_hosts, settings.secret_keys
        )
        guard_agent = self._models.guardrails.guard_agent
        self._builder = AgentBuilder(settings, self._models.chain, self.mcp, guard_agent)
        billing = resources.client("billing-webhook", settings.billing_internal_url, BILLING_SCOPE)
        self.budgets = Budgets(BillingClient(billing, settings.billing_timeout_seconds), settings)
        self.services = self._build_services(resources)

    def _build_services(self, resources: Resources) -> RunServices:
        settings = self.settings
        auth = resources.client("auth", settings.auth_internal_url, MEMBERS_SCOPE)
        return RunServices(
            settings=settings,
            database=resources.database,
            redis=resources.redis,
            writer=self.writer,
            budgets=self.budgets,
            memberships=MembershipClient(auth, settings.auth_timeout_seconds),
            conversations=resources.client("conversation", settings.conversation_internal_url, SCOPE),
            http=self._http,
            config=provider.run_config(self._models),
            tool_guard=self._models.guardrails.tool_guard,
            catalogue=self.catalogue,
            embedder=embedder_of(settings, self.plain_calls),
            agents=self.selector,
            provider_keys=self.provider_keys,
            build_agents=self.build_agents,
            claim_next=self._claim_next,
            start=self.start,
            compaction_due=asyncio.Event(),
        )

    async def select_agent(
        self,
        tenant_id: UUID | None,
        name: str,
        conversation_id: UUID | None = None,
        number: int | None = None,
    ) -> AgentSelection | None:
        """Return the agent of a name, or a direct model as one, if a tenant may use it.

        Of the versions that answer, `number` chooses one for the agent itself.
        """
        if find_model(self.settings.direct_models, tenant_id, name, "chat"):
            return AgentSelection(name)
        selection = await self.selector.select(tenant_id, name, conversation_id, number)
        is_internal = selection and selection.first and selection.first.visibility == "internal"
        return None if is_internal else selection

    def build_agents(self, tenant_id: UUID | None, selection: AgentSelection, values: Values) -> Graph:
        """Return the agents of a run by name; raises ModelNotFound."""
        name = selection.name
        direct = find_model(self.settings.direct_models, tenant_id, name, "chat")
        if direct is not None:
            return {
                name: Agent(
                    name=name, model=self._models.direct_model(self.settings.direct_model_name(name, direct))
                )
            }
        return self._builder.build(tenant_id, selection, values)

    async def profile_of(self, tenant_id: UUID | None, name: str) -> AgentProfile:
        """Describe an agent to protocols, also one that does not exist."""
        selection = await self.select_agent(tenant_id, name)
        if selection is None:
            return AgentProfile(name, self.settings.agent_model_default)
        agent = self.build_agents(tenant_id, selection, {})[name]
        return AgentProfile(name, self.model_of(selection, tenant_id), names_of(agent))

    def model_of(self, selection: AgentSelection, tenant_id: UUID | None) -> str:
        """Return the model that an agent calls: of a direct model, itself."""
        direct = self.settings.direct_models.get(selection.name)
        if direct is not None:
            return self.settings.direct_model_name(selection.name, direct)
        own = selection.first.model if selection.first else None
        return self._builder.model_name(tenant_id, own) if own else self.settings.agent_model_default

    def conversation_client(self, caller: Principal) -> ConversationClient:
        """Return the client for a caller's conversations."""
        assert caller.tenant_id  # noqa: S101  # the token of a person has one
        return ConversationClient(self.services.conversations, caller.tenant_id, caller.user_id)

    def event_source(self, run_id: UUID) -> EventSource:
        """Return where a run's events are read from: the buffer of a run that is active here, else Redis."""
        active = self.active.get(run_id)
        return active.log if active and not active.log.is_detached else EventStore(self.redis, run_id)

    def start(self, run: Run, *, is_new_conversation: bool = False) -> None:
        """Start to execute a run that this process has claimed."""
        if run.id in self.active:
            self.active[run.id].abandon()
        active = ActiveRun(run, self.services, is_new_conversation=is_new_conversation)
        self.active[run.id] = active
        active.task = self.run_in_background(self._execute(active))

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start work that no request waits for; a process that closes waits for it for a while."""
        return self._tasks.start(work)

    async def _execute(self, active: ActiveRun) -> None:
        run = active.run
        IN_RUN.set(True)
        ids = {"tenant_id": str(run.tenant_id), "user_id": application_of(run.user_id), "run_id": str(run.id)}
        # A context of its own: the request that started the run is answered, and logged, long before it ends.
        try:
            with (
                context.scope(correlation_id=context.request_id(), **ids),
                tracer.start_as_current_span("run"),
            ):
                await active.execute()
        finally:
            active.log.detach()
            if self.active.get(run.id) is active:
                del self.active[run.id]

    async def _claim_next(self, session: AsyncSession, conversation_id: UUID) -> Run | None:
        """Claim the run that is next in a conversation."""
        # One that is queued at this very moment is seen by the claimer.
        if self.is_closing or not await leases.has_queued(session, conversation_id):
            return None
        return await leases.start_next_queued(session, conversation_id, self.lease)

    async def on_signal(self, stop_modes: dict[str, str]) -> None:
        """Apply a signal of another replica: stop runs, or look for runs to claim."""
        self.claim_due.set()
        for run_id, mode in stop_modes.items():
            if (active := self.active.get(UUID(run_id))) is not None:
                active.stop(mode)

    async def stop(self, runs: Sequence[Run]) -> None:
        """Stop runs wherever they are executed; their rows say how."""
        if not runs:
            return
        elsewhere: dict[str, str] = {}
        for run in runs:
            mode = run.stop or "cancel"
            if (active := self.active.get(run.id)) is not None:
                active.stop(mode)
            elif run.status in FINISHED:
                # It was queued. Without Redis, whoever subscribes to it repairs its log later.
                with contextlib.suppress(RedisError, OSError):
                    await self.repair.ensure_terminal_event(run.id)
            else:
                elsewhere[str(run.id)] = mode
        self.claim_due.set()
        await self.signals.broadcast(elsewhere)

    async def hand_over(self) -> None:
        """Release all runs to other replicas; those that are about to end may end."""
        self.is_closing = True
        finishing = [active.task for active in self.active.values() if active.is_ending and active.task]
        unfinished = [active for active in self.active.values() if not active.is_ending]
        for active in unfinished:
            if active.task is not None:
                active.task.cancel()
        await asyncio.gather(*(active.task for active in unfinished if active.task), return_exceptions=True)
        await asyncio.gather(*(self.writer.flush(active.log, 1) for active in unfinished))
        await self._release_leases(unfinished)
        if finishing:
            await asyncio.wait(finishing, timeout=FINISH_SECONDS)

    async def _release_leases(self, unfinished: list[ActiveRun]) -> None:
        if not unfinished:
            return
        try:
            async with self.lease_database.begin() as session:
                for active in unfinished:
                    await leases.store_usage(session, active.run, active.meter.total())
                await leases.release(session, self.lease.owner, [active.run.id for active in unfinished])
            await self.signals.broadcast({})
        except (SQLAlchemyError, RedisError, OSError) as error:
            # Then their leases run out.
            logger.warning(
                "runs not handed over", extra={"error": type(error).__name__, "runs": len(unfinished)}
            )

    async def close(self) -> None:
        """Wait for the work in the background, cancel what is left of it, and close the connections."""
        await self._tasks.close(FINISH_SECONDS)
        await self.mcp.refreshes.close(FINISH_SECONDS)
        await self.budgets.close()
        await self._models.close()
        await self._http.aclose()
        await self.lease_database.close()
