"""Runs agents. A run is a task of its own: it goes on when the client that asked for it goes away."""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from agents import Runner
from opentelemetry import trace
from redis.exceptions import RedisError
from servicekit import context
from servicekit.app import Kit
from servicekit.tokens import Principal
from sqlalchemy.exc import SQLAlchemyError

from chat_agent import failures, model, runs
from chat_agent.agents import AGENTS
from chat_agent.conversations import SCOPE, Conversations, Item
from chat_agent.errors import InternalError
from chat_agent.history import ConversationSession
from chat_agent.models import Run
from chat_agent.narrator import Narrator
from chat_agent.run_log import RecordedLog, RunLog, Source, make_event, record
from chat_agent.runs import Outcome
from chat_agent.settings import Settings
from chat_agent.tools import RunContext
from chat_agent.usage import METER, UsageMeter

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)

# Postgres down at the end of a run: it is tried again for this long, then the run counts as lost.
END_SECONDS = 60.0
CLOSE_SECONDS = 20.0


@dataclass(frozen=True)
class Live:
    """A run that is alive in this process."""

    run: Run
    log: RunLog
    narrator: Narrator
    meter: UsageMeter
    conversations: Conversations


class Engine:
    """All the runs that are alive in this process, and what they share."""

    name = "runs"

    def __init__(self, kit: Kit, settings: Settings) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{random.getrandbits(32):08x}"  # a name
        self.lease = timedelta(seconds=settings.run_lease_seconds)
        self._kit = kit
        self.settings = settings
        self._models = model.connect(settings)
        self._config = model.run_config(settings, self._models)
        self._conversation = kit.client("conversation", settings.conversation_internal_url, SCOPE)
        self._live: dict[UUID, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._healthy = True

    @property
    def model(self) -> str:
        """Name the model that answers."""
        return self.settings.agent_model_default

    def conversations_of(self, caller: Principal) -> Conversations:
        """Give what a caller has said and heard."""
        assert caller.tenant_id  # noqa: S101  # the token of a person has one
        return Conversations(self._conversation, caller.tenant_id, caller.subject)

    def start(self, run: Run) -> RunLog:
        """Begin to work on a run, and give its log."""
        log = RunLog(run.id, run.conversation_id)
        agent = AGENTS[run.agent]
        conversations = Conversations(self._conversation, run.tenant_id, run.user_id)
        live = Live(run, log, Narrator(log, agent), UsageMeter(), conversations)
        self._live[run.id] = live
        log.append("run.started", agent=run.agent, model=run.model)
        self._spawn(self._work(live))
        self._spawn(self._record(live))
        return log

    def source(self, run_id: UUID) -> Source:
        """Give the place where a run's events can be read: here when it is alive here, else in Redis."""
        live = self._live.get(run_id)
        return live.log if live else RecordedLog(self._kit.redis, run_id)

    async def run(self) -> None:
        """Keep the leases of the runs that are alive here, and end those that nobody keeps any more."""
        while True:
            try:
                await self._renew()
                await self._bury()
                self._healthy = True
            except (SQLAlchemyError, RedisError, OSError) as error:
                self._healthy = False
                logger.warning("leases not renewed", extra={"error": type(error).__name__})
            await asyncio.sleep(self.lease.total_seconds() / 3)

    def healthy(self) -> bool:
        """Tell whether leases are being renewed."""
        return self._healthy

    async def close(self) -> None:
        """Give what is running a while to end; what does not is lost, and ended as such by another."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
        await self._models.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, live: Live) -> None:
        run = live.run
        METER.set(live.meter)
        ids = {"tenant_id": str(run.tenant_id), "user_id": run.user_id, "run_id": str(run.id)}
        # A context of its own: the request that asked is answered, and logged, long before the run ends.
        with context.scope(correlation_id=context.request_id(), **ids), tracer.start_as_current_span("run"):
            await self._end(live, await self._converse(live))

    async def _record(self, live: Live) -> None:
        """Copy the log to where other replicas read it; until that is done, readers are served from here."""
        try:
            await record(live.log, self._kit.redis, self.settings.run_log_seconds)
        finally:
            del self._live[live.run.id]

    async def _converse(self, live: Live) -> Outcome:
        try:
            async with asyncio.timeout(self.settings.run_seconds):
                output = await self._follow(live)
        except Exception as error:  # whatever it is, the run must end, and by a name
            return await self._failed(live, error)
        narrator = live.narrator
        return Outcome("completed", narrator.agent.name, narrator.handoffs, output, live.meter.total())

    async def _follow(self, live: Live) -> str:
        run = live.run
        session = ConversationSession(
            live.conversations, run.conversation_id, run.id, self.settings.history_items
        )
        result = Runner.run_streamed(
            AGENTS[run.agent],
            run.message,
            context=RunContext(live.conversations),
            max_turns=self.settings.run_max_turns,
            run_config=self._config,
            session=session,
        )
        async for event in result.stream_events():
            live.narrator.tell(event)
        return str(result.final_output)

    async def _failed(self, live: Live, error: Exception) -> Outcome:
        failure = failures.name(error)
        level = logging.ERROR if isinstance(failure, InternalError) else logging.WARNING
        logger.log(
            level,
            "run failed",
            extra={"code": failure.code()},
            exc_info=error if level == logging.ERROR else None,
        )
        partial = live.narrator.unfinished_text
        if partial:
            await keep_partial(live, partial)
        return Outcome(
            "failed",
            live.narrator.agent.name,
            live.narrator.handoffs,
            partial or None,
            live.meter.total(),
            failure.code(),
            failure.detail,
        )

    async def _end(self, live: Live, outcome: Outcome) -> None:
        """Commit the end, then tell it: whoever hears of it finds it in the database."""
        ended = await self._commit_end(live.run, outcome)
        if not ended:
            # Another replica took us for dead, or will: that is what the database says, so the stream does.
            outcome = runs.lost_outcome(live.run)
        type_, fields = terminal_event(outcome)
        live.log.append(type_, **fields)
        logger.info("run ended", extra={"status": outcome.status, "tokens": outcome.usage.output_tokens})

    async def _commit_end(self, run: Run, outcome: Outcome) -> bool:
        deadline, pause = asyncio.get_running_loop().time() + END_SECONDS, 0.1
        while asyncio.get_running_loop().time() < deadline:
            try:
                async with self._kit.database.begin() as session:
                    return await runs.end(session, run, outcome)
            except (SQLAlchemyError, OSError) as error:
                logger.warning("run end not committed yet", extra={"error": type(error).__name__})
                await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # jitter
                pause = min(pause * 2, 5)
        return False

    async def _renew(self) -> None:
        if self._live:
            async with self._kit.database.begin() as session:
                await runs.keep_alive(session, self.owner, list(self._live), self.lease)

    async def _bury(self) -> None:
        async with self._kit.database.begin() as session:
            lost = await runs.lost(session)
        for run in lost:
            logger.error("run lost", extra={"run_id": str(run.id), "owner": run.owner})
            log = RecordedLog(self._kit.redis, run.id)
            type_, fields = terminal_event(runs.lost_outcome(run))
            newest = await log.last()
            event = make_event(newest.seq + 1 if newest else 1, type_, run.id, run.conversation_id, fields)
            await log.write([event], self.settings.run_log_seconds)


async def keep_partial(live: Live, text: str) -> None:
    """Keep what was said before the run broke off, marked as incomplete."""
    data = {
        "type": "message",
        "role": "assistant",
        "status": "incomplete",
        "id": f"msg_{live.run.id.hex}",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    try:
        await live.conversations.append(
            live.run.conversation_id, [Item(id=f"{live.run.id}-partial", data=data)]
        )
    except Exception as error:  # the run has failed already; this must not hide why
        logger.warning("partial answer not kept", extra={"error": type(error).__name__})


def terminal_event(outcome: Outcome) -> tuple[str, dict[str, object]]:
    """Give the last event of a run that ended so."""
    usage = outcome.usage.model_dump(mode="json")
    common: dict[str, object] = {
        "agent": outcome.agent,
        "handoffs": outcome.handoffs,
        "output": outcome.output,
        "usage": usage,
    }
    if outcome.status == "failed":
        return "run.failed", {**common, "code": outcome.error_code, "detail": outcome.error_detail}
    return f"run.{outcome.status}", common
