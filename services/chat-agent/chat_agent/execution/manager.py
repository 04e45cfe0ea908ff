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
from chat_agent.clients.auth import Owners
from chat_agent.clients.conversation import SCOPE, Conversations
from chat_agent.clients.retry import through_outages
from chat_agent.errors import InternalError, Superseded
from chat_agent.event_log import recovery
from chat_agent.event_log.buffer import RunLog
from chat_agent.event_log.store import WAITING, RecordedLog, Source
from chat_agent.event_log.translator import Narrator
from chat_agent.event_log.writer import Recorder
from chat_agent.execution.active_run import Live
from chat_agent.execution.executor import Performer, Question
from chat_agent.execution.final_events import Endings
from chat_agent.execution.session import ConversationSession
from chat_agent.execution.signals import Signals
from chat_agent.model import provider
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.models import OVER, Run
from chat_agent.runs import approvals, leases, store
from chat_agent.runs.leases import Lease
from chat_agent.runs.outcome import Outcome, terminal_event, told_of, told_of_approval
from chat_agent.runs.tool_calls import Journal
from chat_agent.schemas import Usage
from chat_agent.settings import Settings

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

# Redis down: for so long the end of a run waits until all that was said is recorded.
RECORD_SECONDS = 30.0
# What is about to end may still do so when the process is told to.
ENDING_SECONDS = 5.0


class Engine:
    """All the runs that are alive in this process, and what they share."""

    def __init__(self, resources: Resources, settings: Settings) -> None:
        self.settings = settings
        owner = f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}"  # a name
        self.lease = Lease(owner, timedelta(seconds=settings.run_lease_seconds))
        self.database = resources.database
        self.recorder = Recorder(resources.redis)
        self.signals = Signals(resources.redis, self.hear)
        self.endings = Endings(resources.database, resources.redis, settings)
        self.live: dict[UUID, Live] = {}
        self.is_closing = False
        # Something may be there to be taken: see `Claimer`.
        self.due = asyncio.Event()
        self._redis = resources.redis
        self._models = provider.connect(settings)
        auth = resources.client("auth", settings.auth_internal_url, MEMBERS_SCOPE)
        self._performer = Performer(
            resources.database,
            provider.run_config(self._models),
            settings,
            Owners(auth, settings.auth_patience_seconds),
        )
        self._conversation = resources.client("conversation", settings.conversation_internal_url, SCOPE)

    @property
    def model(self) -> str:
        """Name the model that answers."""
        return self.settings.agent_model_default

    def conversations_of(self, caller: Principal) -> Conversations:
        """Give what a caller has said and heard."""
        assert caller.tenant_id  # noqa: S101  # the token of a person has one
        return Conversations(self._conversation, caller.tenant_id, caller.subject)

    def source(self, run_id: UUID) -> Source:
        """Give the place where a run's events can be read: here when it is worked on here, else in Redis."""
        live = self.live.get(run_id)
        return live.log if live and not live.log.is_left else RecordedLog(self._redis, run_id)

    def start(self, run: Run, *, begins_conversation: bool = False) -> None:
        """Begin to work on a run that has been taken."""
        if run.id in self.live:
            self.lose(self.live[run.id])
        live = self.live[run.id] = self._prepared(run)
        live.begins_conversation = begins_conversation
        live.task = asyncio.create_task(self._work(live))

    def _prepared(self, run: Run) -> Live:
        log = RunLog(
            run.id,
            run.conversation_id,
            RecordedLog(self._redis, run.id),
            attempt=run.attempt,
            keep_seconds=self.settings.run_log_seconds,
            note=self.recorder.note,
        )
        conversations = Conversations(self._conversation, run.tenant_id, run.user_id)

        async def kept() -> None:
            await self._checkpoint(live)

        live = Live(
            run=run,
            log=log,
            # An agent that is gone by now has a name all the same; the run ends, and says why.
            narrator=Narrator(log, AGENTS.get(run.agent) or Agent(name=run.agent)),
            meter=UsageMeter.resume(Usage.model_validate(run.usage)),
            conversations=conversations,
            session=ConversationSession(conversations, run, self.settings, kept),
            journal=Journal(self.database, run),
        )
        return live

    async def hear(self, stopped: dict[str, str]) -> None:
        """Hear from another replica: that runs are to stop, and how, or that some may be taken."""
        self.due.set()
        for run_id, how in stopped.items():
            if (live := self.live.get(UUID(run_id))) is not None:
                live.stop(how)

    async def stop(self, stopped: Sequence[Run]) -> None:
        """Let those hear that work on these runs that they are to stop; how is written in the rows."""
        if not stopped:
            return
        elsewhere: dict[str, str] = {}
        for run in stopped:
            how = run.stop or "cancel"
            if (live := self.live.get(run.id)) is not None:
                live.stop(how)
            elif run.status in OVER:
                # It waited for its turn; without Redis, whoever listens tells it later.
                with contextlib.suppress(RedisError, OSError):
                    await self.endings.tell(run.id)
            else:
                elsewhere[str(run.id)] = how
        self.due.set()
        await self.signals.tell(elsewhere)

    async def _work(self, live: Live) -> None:
        run = live.run
        METER.set(live.meter)
        ids = {"tenant_id": str(run.tenant_id), "user_id": run.user_id, "run_id": str(run.id)}
        # A context of its own: the request that asked is answered, and logged, long before the run ends.
        try:
            with (
                context.scope(correlation_id=context.request_id(), **ids),
                tracer.start_as_current_span("run"),
            ):
                result = await self._performer.perform(live)
                live.is_ending = True
                await self._conclude(live, result)
        except Superseded:
            self.lose(live)
        finally:
            live.log.leave()
            if self.live.get(run.id) is live:
                del self.live[run.id]

    async def _conclude(self, live: Live, result: Outcome | Question) -> None:
        """Commit what came of a run; what cannot be committed ends it by name, or it would begin anew."""
        try:
            if isinstance(result, Question):
                await self._ask(live, result)
            else:
                await self._end(live, result)
        except SQLAlchemyError as error:
            logger.exception("what came of a run is not committed")
            if not is_outage(error):
                failure = InternalError()
                await self._end(live, live.outcome("failed", None, failure.code(), failure.detail))

    async def _end(self, live: Live, outcome: Outcome) -> None:
        """Commit the end, then tell it: whoever hears of it finds it in the database."""
        outcome = replace(outcome, cost=live.meter.cost(self.settings.model_prices))
        # Before the end is committed, so that from then on nothing but the end is missing in the log.
        await self.recorder.recorded(live.log, RECORD_SECONDS)

        async def commit() -> tuple[bool, Run | None]:
            async with self.database.begin() as session:
                if not await store.end(session, live.run, outcome):
                    return False, None
                if live.run.waiting_until is not None:
                    await approvals.expire(session, live.run.id)
                return True, await self._next(session, live.run.conversation_id)

        ended, following = await through_outages(commit)
        if not ended:
            logger.warning("run was taken over before its end")
            return
        if following is not None:
            self.start(following)
        type_, fields = terminal_event(outcome)
        live.log.append(type_, **fields)
        logger.info("run ended", extra={"status": outcome.status, "tokens": outcome.usage.output_tokens})
        await self.recorder.recorded(live.log, RECORD_SECONDS)

    async def _next(self, session: AsyncSession, conversation_id: UUID) -> Run | None:
        """Take the run that waits for its turn after this one."""
        # One that lines up at this very moment is seen by those who look for what is due.
        if self.is_closing or not await leases.is_anybody_waiting(session, conversation_id):
            return None
        return await leases.promote(session, conversation_id, self.lease)

    async def _ask(self, live: Live, question: Question) -> None:
        """Commit that the run waits, then tell what it asks."""
        lasts = timedelta(seconds=self.settings.approval_seconds)
        so_far = live.outcome("waiting", None)
        await self.recorder.recorded(live.log, RECORD_SECONDS)

        async def commit() -> bool:
            async with self.database.begin() as session:
                return await approvals.rest(session, live.run, so_far, question.state, lasts, question.asked)

        if not await through_outages(commit):
            return
        # Until it is answered, and for as long again as any run can be heard, the log must be there.
        live.log.keep_seconds += self.settings.approval_seconds
        for asked in question.asked:
            live.log.append("approval.required", **told_of_approval(asked))
        live.log.append(WAITING, output=None, **told_of(so_far))
        await self.recorder.recorded(live.log, RECORD_SECONDS)

    async def _checkpoint(self, live: Live) -> None:
        """Keep what was used so far; an answer that is the last thing said is kept with the run's end."""
        if recovery.answer(live.session.made) is not None:
            return
        try:
            async with self.database.begin() as session:
                kept = await leases.checkpoint(session, live.run, live.meter.total())
        except (SQLAlchemyError, OSError) as error:
            logger.warning("checkpoint not kept", extra={"error": type(error).__name__})
            return
        live.run.state = None
        if not kept:
            self.lose(live)

    def lose(self, live: Live) -> None:
        """Let go of a run that somebody else works on by now; not a word of ours may follow."""
        logger.warning("run is somebody else's by now", extra={"run_id": str(live.run.id)})
        live.log.supersede()
        if live.task is not None:
            live.task.cancel()

    async def hand_over(self) -> None:
        """Let others go on with what is alive here, at once; what is just ending may end."""
        self.is_closing = True
        ending = [live.task for live in self.live.values() if live.is_ending and live.task]
        left = [live for live in self.live.values() if not live.is_ending]
        for live in left:
            if live.task is not None:
                live.task.cancel()
        await asyncio.gather(*(live.task for live in left if live.task), return_exceptions=True)
        await asyncio.gather(*(self.recorder.recorded(live.log, 1) for live in left))
        await self._let_go(left)
        if ending:
            await asyncio.wait(ending, timeout=ENDING_SECONDS)

    async def _let_go(self, left: list[Live]) -> None:
        if not left:
            return
        try:
            async with self.database.begin() as session:
                for live in left:
                    await leases.keep_usage(session, live.run, live.meter.total())
                await leases.let_go(session, self.lease.owner, [live.run.id for live in left])
            await self.signals.tell({})
        except (SQLAlchemyError, RedisError, OSError) as error:
            # Then their leases run out.
            logger.warning("runs not handed over", extra={"error": type(error).__name__, "runs": len(left)})

    async def close(self) -> None:
        """Hand over what is still alive, and let go of the model."""
        await self.hand_over()
        await self._models.close()
