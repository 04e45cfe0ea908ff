"""Summarizes the histories of conversations, between their turns."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid5

from agents import Model
from servicekit.errors import ServiceError
from servicekit.workers.base import LoopWorker
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.budgets import BUDGET
from chat_agent.clients.billing import RunRef
from chat_agent.clients.conversation import ConversationClient, HistoryChanged, NewSummary
from chat_agent.clients.retry import retry_transaction
from chat_agent.compaction.tables import Compaction
from chat_agent.errors import ConversationNotFound, MembershipEnded
from chat_agent.events import publish_call
from chat_agent.execution.compaction import store, writing
from chat_agent.execution.compaction.run_compaction import policy_of
from chat_agent.execution.compaction.turns import part_to_summarize
from chat_agent.execution.services import RunServices
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.models import Run

logger = logging.getLogger(__name__)

Remove = Callable[[AsyncSession, Compaction], Awaitable[None]]

# What another process has requested and not done is looked for so often.
POLL_SECONDS = 30.0
CONCURRENT = 4
# Items that are read at once.
MAX_ITEMS = 1000
# The characters of a part, for each token of the model's context; and of a model whose context is not known.
CHARACTERS_PER_TOKEN, DEFAULT_CONTEXT = 3, 32_000


class Compactor(LoopWorker):
    """Claims conversations whose summary is due, and has a model write it; a Worker."""

    def __init__(self, services: RunServices) -> None:
        super().__init__("compaction", wakeup=services.compaction_due)
        self._services = services

    async def begin(self) -> None:
        """Start without preparation."""

    async def step(self) -> float:
        """Work on what is due."""
        async with self._services.database.begin() as session:
            claimed = await store.claim(session, CONCURRENT)
        await asyncio.gather(*map(self._attempt, claimed))
        return 0.0 if claimed else POLL_SECONDS

    async def _attempt(self, compaction: Compaction) -> None:
        """Make one attempt; a failure changes nothing but that it is tried again."""
        try:
            # What it sets in its context is its own.
            await asyncio.create_task(self._compact(compaction))
        except (ConversationNotFound, HistoryChanged, MembershipEnded):
            await self._finish(compaction, store.remove_unused)
        except Exception as error:
            is_expected = isinstance(error, ServiceError | OSError)
            level = logging.WARNING if is_expected else logging.ERROR
            extra = {"attempt": compaction.attempt, "error": type(error).__name__}
            logger.log(level, "history not summarized", extra=extra, exc_info=not is_expected)
            with contextlib.suppress(SQLAlchemyError, OSError):
                async with self._services.database.begin() as session:
                    await store.retry_later(session, compaction)

    async def _compact(self, compaction: Compaction) -> None:
        services = self._services
        async with services.database.begin() as session:
            run = await session.get(Run, compaction.run_id)
        if run is None:
            return
        await services.memberships.require_active_member(run)
        conversations = ConversationClient(services.conversations, run.tenant_id, run.user_id)
        summary = compaction.summary and NewSummary.model_validate(compaction.summary)
        summary = summary or await SummaryCall(services, compaction, run).summarize(conversations)
        if summary is not None:
            summary_id = f"summary-{compaction.id}"
            await conversations.store_summary(run.conversation_id, summary_id, summary)
        await self._finish(compaction, store.remove if summary else store.remove_unused)

    async def _finish(self, compaction: Compaction, remove: Remove) -> None:
        async with self._services.database.begin() as session:
            await remove(session, compaction)


class SummaryCall:
    """One call of the model: reserved, metered, and recorded with the summary."""

    def __init__(self, services: RunServices, compaction: Compaction, run: Run) -> None:
        self._services = services
        self._compaction = compaction
        self._run = run
        # Billing counts what it has counted under this id only once.
        usage_id = uuid5(compaction.id, str(compaction.attempt))
        self._ref = RunRef(run.tenant_id, usage_id, run.user_id, run.agent)
        self._meter = UsageMeter(services.catalogue)
        self._started_at = datetime.now(UTC)

    async def summarize(self, conversations: ConversationClient) -> NewSummary | None:
        """Return a summary that is recorded; none where there is nothing to summarize."""
        services, run = self._services, self._run
        selection = await services.restore_agents(run)
        agents = services.build_agents(run.tenant_id, selection, {})
        policy = policy_of(run, agents, services.settings)
        if policy is None:
            return None
        context = services.catalogue.context_length(run.model) or DEFAULT_CONTEXT
        history = await conversations.history(run.conversation_id, MAX_ITEMS)
        part = part_to_summarize(history, policy.keep_turns, context * CHARACTERS_PER_TOKEN)
        if not part:
            return None
        METER.set(self._meter)
        BUDGET.set(services.budgets.of_run(self._ref, 1))
        summary: NewSummary | None = None
        try:
            guardrails = selection.first.guardrails if selection.first else None
            text = await writing.write(self._model(agents[run.agent].model), part, guardrails)
            summary = writing.new_summary(text, part, is_all=len(history) < MAX_ITEMS)
        finally:
            is_pending = await self._record(summary)
        return summary if is_pending else None

    def _model(self, model: str | Model | None) -> Model:
        """Return the model of an agent."""
        if isinstance(model, Model):
            return model
        return self._services.config.model_provider.get_model(model)

    async def _record(self, summary: NewSummary | None) -> bool:
        """Store the summary and publish the usage, in one commit; return whether the attempt counts."""
        stored = summary.model_dump(mode="json") if summary else None
        usage = self._meter.total()

        async def write(session: AsyncSession) -> bool:
            if not await store.store_summary(session, self._compaction, stored):
                return False
            if usage.models:
                publish_call(session, self._ref, self._run.conversation_id, usage, self._started_at)
            return True

        return await retry_transaction(self._services.database, write)
