"""The runs that are worked on in this process. A run goes on when the client that asked for it goes away."""

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from agents import Agent
from opentelemetry import trace
from redis.exceptions import RedisError
from servicekit import context
from servicekit.app import Resources
from servicekit.auth.tokens import Principal
from servicekit.errors import is_outage
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.agents import AGENTS
from chat_agent.clients.auth import SCOPE as MEMBERS_SCOPE
from chat_agent.clients.auth import MembershipClient
from chat_agent.clients.conversation import SCOPE, ConversationClient
from chat_agent.clients.retry import retry_database
from chat_agent.errors import InternalError, Superseded
from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventSource, EventStore, EventType
from chat_agent.event_log.translator import EventTranslator
from chat_agent.event_log.writer import EventWriter
from chat_agent.execution.active_run import ActiveRun
from chat_agent.execution.executor import Interruption, RunExecutor
from chat_agent.execution.final_events import TerminalEventRepair
from chat_agent.execution.session import ConversationSession
from chat_agent.execution.signals import Signals
from chat_agent.model import provider
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.models import FINISHED, Run
from chat_agent.runs import approvals, leases, store
from chat_agent.runs.leases import Lease
from chat_agent.runs.outcome import Outcome, approval_payload, outcome_payload, terminal_event
from chat_agent.runs.tool_calls import ToolCallJournal
from chat_agent.schemas import Usage
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

# Redis down: for so long the end of a run waits until all that was said is recorded.
FLUSH_SECONDS = 30.0
# What is about to end may still do so when the process is told to.
FINISH_SECONDS = 5.0


class RunManager:
    """All the runs that are alive in this process, and what they share."""

    def __init__(self, resources: Resources, settings: Settings) -> None:
        self.settings = settings
        owner = f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}"  # a name
        self.lease = Lease(owner, timedelta(seconds=settings.run_lease_seconds))
        self.database = resources.database
        self.writer = EventWriter(resources.redis)
        self.signals = Signals(resources.redis, self.on_signal)
        self.repair = TerminalEventRepair(resources.database, resources.redis, settings)
        self.active: dict[UUID, ActiveRun] = {}
        self.is_closing = False
        # Something may be there to be taken: see `Claimer`.
        self.claim_due = asyncio.Event()
        self._redis = resources.redis
        self._models = provider.build_provider(settings)
        auth = resources.client("auth", settings.auth_internal_url, MEMBERS_SCOPE)
        self._executor = RunExecutor(
            resources.database,
            provider.run_config(self._models),
            settings,
            MembershipClient(auth, settings.auth_timeout_seconds),
        )
        self._conversation_service = resources.client(
            "conversation", settings.conversation_internal_url, SCOPE
        )

    @property
    def model(self) -> str:
        """Name the model that answers."""
        return self.settings.agent_model_default

    def conversation_client(self, caller: Principal) -> ConversationClient:
        """Give what a caller has said and heard."""
        assert caller.tenant_id  # noqa: S101  # the token of a person has one
        return ConversationClient(self._conversation_service, caller.tenant_id, caller.subject)

    def event_source(self, run_id: UUID) -> EventSource:
        """Give the place where a run's events can be read: here when it is worked on here, else in Redis."""
        live = self.active.get(run_id)
        return live.log if live and not live.log.is_detached else EventStore(self._redis, run_id)

    def start(self, run: Run, *, begins_conversation: bool = False) -> None:
        """Begin to work on a run that has been taken."""
        if run.id in self.active:
            self.abandon(self.active[run.id])
        live = self.active[run.id] = self._prepare(run)
        live.is_new_conversation = begins_conversation
        live.task = asyncio.create_task(self._run(live))

    def _prepare(self, run: Run) -> ActiveRun:
        log = EventBuffer(
            run.id,
            run.conversation_id,
            EventStore(self._redis, run.id),
            attempt=run.attempt,
            ttl_seconds=self.settings.run_log_ttl_seconds,
            mark_dirty=self.writer.mark_dirty,
        )
        conversations = ConversationClient(self._conversation_service, run.tenant_id, run.user_id)

        async def on_stored() -> None:
            await self._checkpoint(live)

        live = ActiveRun(
            run=run,
            log=log,
            # An agent that is gone by now has a name all the same; the run ends, and says why.
            translator=EventTranslator(log, AGENTS.get(run.agent) or Agent(name=run.agent)),
            meter=UsageMeter.resume(Usage.model_validate(run.usage)),
            conversations=conversations,
            session=ConversationSession(conversations, run, self.settings, on_stored),
            journal=ToolCallJournal(self.database, run),
        )
        return live

    async def on_signal(self, stop_modes: dict[str, str]) -> None:
        """Hear from another replica: that runs are to stop, and how, or that some may be taken."""
        self.claim_due.set()
        for run_id, mode in stop_modes.items():
            if (live := self.active.get(UUID(run_id))) is not None:
                live.stop(mode)

    async def stop(self, runs: Sequence[Run]) -> None:
        """Let those hear that work on these runs that they are to stop; how is written in the rows."""
        if not runs:
            return
        elsewhere: dict[str, str] = {}
        for run in runs:
            mode = run.stop or "cancel"
            if (live := self.active.get(run.id)) is not None:
                live.stop(mode)
            elif run.status in FINISHED:
                # It waited for its turn; without Redis, whoever listens tells it later.
                with contextlib.suppress(RedisError, OSError):
                    await self.repair.ensure_terminal_event(run.id)
            else:
                elsewhere[str(run.id)] = mode
        self.claim_due.set()
        await self.signals.broadcast(elsewhere)

    async def _run(self, live: ActiveRun) -> None:
        run = live.run
        METER.set(live.meter)
        ids = {"tenant_id": str(run.tenant_id), "user_id": run.user_id, "run_id": str(run.id)}
        # A context of its own: the request that asked is answered, and logged, long before the run ends.
        try:
            with (
                context.scope(correlation_id=context.request_id(), **ids),
                tracer.start_as_current_span("run"),
            ):
                result = await self._executor.execute(live)
                live.is_ending = True
                await self._commit(live, result)
        except Superseded:
            self.abandon(live)
        finally:
            live.log.detach()
            if self.active.get(run.id) is live:
                del self.active[run.id]

    async def _commit(self, live: ActiveRun, result: Outcome | Interruption) -> None:
        """Commit what came of a run; what cannot be committed ends it by name, or it would begin anew."""
        try:
            if isinstance(result, Interruption):
                await self._suspend(live, result)
            else:
                await self._finish(live, result)
        except SQLAlchemyError as error:
            logger.exception("what came of a run is not committed")
            if not is_outage(error):
                failure = InternalError()
                await self._finish(live, live.outcome("failed", None, failure.code(), failure.detail))

    async def _finish(self, live: ActiveRun, outcome: Outcome) -> None:
        """Commit the end, then tell it: whoever hears of it finds it in the database."""
        outcome = replace(outcome, cost=live.meter.cost(self.settings.model_prices))
        # Before the end is committed, so that from then on nothing but the end is missing in the log.
        await self.writer.flush(live.log, FLUSH_SECONDS)

        async def commit() -> tuple[bool, Run | None]:
            async with self.database.begin() as session:
                if not await store.end(session, live.run, outcome):
                    return False, None
                if live.run.waiting_until is not None:
                    await approvals.expire(session, live.run.id)
                return True, await self._start_next(session, live.run.conversation_id)

        ended, next_run = await retry_database(commit)
        if not ended:
            logger.warning("run was taken over before its end")
            return
        if next_run is not None:
            self.start(next_run)
        type_, fields = terminal_event(outcome)
        live.log.append(type_, **fields)
        logger.info("run ended", extra={"status": outcome.status, "tokens": outcome.usage.output_tokens})
        await self.writer.flush(live.log, FLUSH_SECONDS)

    async def _start_next(self, session: AsyncSession, conversation_id: UUID) -> Run | None:
        """Take the run that waits for its turn after this one."""
        # One that lines up at this very moment is seen by those who look for what is due.
        if self.is_closing or not await leases.has_queued(session, conversation_id):
            return None
        return await leases.start_next_queued(session, conversation_id, self.lease)

    async def _suspend(self, live: ActiveRun, interruption: Interruption) -> None:
        """Commit that the run waits, then tell what it asks."""
        timeout = timedelta(seconds=self.settings.approval_timeout_seconds)
        partial = live.outcome("waiting", None)
        await self.writer.flush(live.log, FLUSH_SECONDS)

        async def commit() -> bool:
            async with self.database.begin() as session:
                return await approvals.suspend(
                    session, live.run, partial, interruption.state, timeout, interruption.approvals
                )

        if not await retry_database(commit):
            return
        # Until it is answered, and for as long again as any run can be heard, the log must be there.
        live.log.ttl_seconds += self.settings.approval_timeout_seconds
        for approval in interruption.approvals:
            live.log.append(EventType.APPROVAL_REQUIRED, **approval_payload(approval))
        live.log.append(EventType.RUN_WAITING, output=None, **outcome_payload(partial))
        await self.writer.flush(live.log, FLUSH_SECONDS)

    async def _checkpoint(self, live: ActiveRun) -> None:
        """Keep what was used so far; an answer that is the last thing said is kept with the run's end."""
        if recovery.final_answer(live.session.new_items) is not None:
            return
        try:
            async with self.database.begin() as session:
                stored = await leases.checkpoint(session, live.run, live.meter.total())
        except (SQLAlchemyError, OSError) as error:
            logger.warning("checkpoint not kept", extra={"error": type(error).__name__})
            return
        live.run.state = None
        if not stored:
            self.abandon(live)

    def abandon(self, live: ActiveRun) -> None:
        """Let go of a run that somebody else works on by now; not a word of ours may follow."""
        logger.warning("run is somebody else's by now", extra={"run_id": str(live.run.id)})
        live.log.supersede()
        if live.task is not None:
            live.task.cancel()

    async def hand_over(self) -> None:
        """Let others go on with what is alive here, at once; what is just ending may end."""
        self.is_closing = True
        finishing = [live.task for live in self.active.values() if live.is_ending and live.task]
        unfinished = [live for live in self.active.values() if not live.is_ending]
        for live in unfinished:
            if live.task is not None:
                live.task.cancel()
        await asyncio.gather(*(live.task for live in unfinished if live.task), return_exceptions=True)
        await asyncio.gather(*(self.writer.flush(live.log, 1) for live in unfinished))
        await self._release_leases(unfinished)
        if finishing:
            await asyncio.wait(finishing, timeout=FINISH_SECONDS)

    async def _release_leases(self, unfinished: list[ActiveRun]) -> None:
        if not unfinished:
            return
        try:
            async with self.database.begin() as session:
                for live in unfinished:
                    await leases.store_usage(session, live.run, live.meter.total())
                await leases.release(session, self.lease.owner, [live.run.id for live in unfinished])
            await self.signals.broadcast({})
        except (SQLAlchemyError, RedisError, OSError) as error:
            # Then their leases run out.
            logger.warning(
                "runs not handed over", extra={"error": type(error).__name__, "runs": len(unfinished)}
            )

    async def close(self) -> None:
        """Hand over what is still alive, and let go of the model."""
        await self.hand_over()
        await self._models.close()
