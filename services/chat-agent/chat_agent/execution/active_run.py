"""A run that this process executes, until it ends, waits for a person, or another process has claimed it."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from chat_agent.budgets import BUDGET
from chat_agent.clients.billing import RunRef
from chat_agent.clients.retry import DatabaseOutage, retry_transaction
from chat_agent.errors import InternalError, Superseded
from chat_agent.event_log.buffer import EventBuffer
from chat_agent.event_log.store import EventStore, EventType
from chat_agent.execution.attempt import Attempt
from chat_agent.execution.interruption import Interruption
from chat_agent.execution.services import RunServices
from chat_agent.model.usage import METER, UsageMeter
from chat_agent.models import Run, RunStatus
from chat_agent.runs import approvals, leases, store
from chat_agent.runs.outcome import Outcome, approval_payload, outcome_payload, terminal_event, with_failure
from chat_agent.schemas import Usage

logger = logging.getLogger(__name__)

# How long the end of a run waits for its events to be written while Redis is down.
FLUSH_SECONDS = 30.0


class ActiveRun:
    """Executes an attempt of a run, and commits its checkpoints and its result."""

    def __init__(self, run: Run, services: RunServices, *, is_new_conversation: bool = False) -> None:
        settings = services.settings
        self.run = run
        self.log = EventBuffer(
            run.id,
            run.conversation_id,
            EventStore(services.redis, run.id),
            attempt=run.attempt,
            ttl_seconds=settings.run_log_ttl_seconds,
            mark_dirty=services.writer.mark_dirty,
        )
        # Its result is being committed: let that finish rather than hand the run over.
        self.is_ending = False
        self.task: asyncio.Task[None] | None = None
        self.meter = UsageMeter.resume(Usage.model_validate(run.usage), services.catalogue)
        self._services = services
        self._budget = services.budgets.of_run(
            RunRef(run.tenant_id, run.id, run.user_id, run.agent), run.attempt
        )
        self._settings = settings
        self._database = services.database
        self._is_new_conversation = is_new_conversation
        self._attempt = Attempt(run, services, self.log, self.meter, self.store_truncation, self.checkpoint)

    def stop(self, mode: str) -> None:
        """Request the end of the run: cancel, interrupt or rollback."""
        self.run.stop = self.run.stop or mode
        self._attempt.stop()

    def abandon(self) -> None:
        """Abandon a run that another worker has claimed; emit nothing more."""
        logger.warning("run was claimed by another worker", extra={"run_id": str(self.run.id)})
        self.log.supersede()
        if self.task is not None:
            self.task.cancel()

    async def execute(self) -> None:
        """Execute the run, and commit its end or that it waits."""
        METER.set(self.meter)
        BUDGET.set(self._budget)
        try:
            result = await self._attempt.result(is_new_conversation=self._is_new_conversation)
            self.is_ending = True
            await self._commit(result)
        except Superseded:
            self.abandon()
        except DatabaseOutage:
            # Its lease ends, and whoever reaches the database again claims it.
            logger.warning("run released: the database is away", extra={"run_id": str(self.run.id)})
            self.log.supersede()
        finally:
            self.log.detach()

    async def store_truncation(self) -> None:
        """Store that an answer was cut, before the answer: the next attempt must not request another."""
        if self.meter.is_truncated != self.run.is_truncated:
            self.run.is_truncated = self.meter.is_truncated
            await retry_transaction(self._database, leases.store_truncation, self.run)

    async def checkpoint(self) -> None:
        """Store the usage so far; a final answer is stored together with the end of the run."""
        if self._attempt.final_answer is not None:
            return
        try:
            async with self._database.begin() as session:
                is_stored = await leases.checkpoint(session, self.run, self.meter.total())
        except (SQLAlchemyError, OSError) as error:
            logger.warning("checkpoint not stored", extra={"error": type(error).__name__})
            return
        self.run.state = None
        if not is_stored:
            self.abandon()

    async def suspend(self, interruption: Interruption) -> None:
        """Commit that the run waits for a person, then publish the requested approvals."""
        timeout_seconds = self._settings.approval_timeout_seconds
        partial = self._attempt.outcome(RunStatus.WAITING, None)
        await self._flush()
        is_suspended = await retry_transaction(
            self._database,
            approvals.suspend,
            self.run,
            partial,
            interruption.state,
            timedelta(seconds=timeout_seconds),
            interruption.approvals,
        )
        if not is_suspended:
            return
        # The log must outlive the wait, and then be readable for as long as that of any run.
        self.log.ttl_seconds += timeout_seconds
        for approval in interruption.approvals:
            self.log.append(EventType.APPROVAL_REQUIRED, **approval_payload(approval))
        self.log.append(EventType.RUN_WAITING, output=None, **outcome_payload(partial))
        await self._flush()

    async def finish(self, outcome: Outcome) -> None:
        """Commit the end of the run, then publish it: whoever reads the event finds the row."""
        outcome = replace(outcome, cost=self.meter.total().cost)
        compaction = self._attempt.compaction
        if compaction is not None and (outcome.status != RunStatus.COMPLETED or not compaction.is_due()):
            compaction = None
        # Before the end is committed, so that from then on only the last event can be missing in the log.
        await self._flush()

        async def end(session: AsyncSession) -> tuple[bool, Run | None]:
            if not await store.end(session, self.run, outcome):
                return False, None
            if self.run.waiting_until is not None:
                await approvals.expire(session, self.run.id)
            if compaction is not None:
                await compaction.add(session)
            return True, await self._services.claim_next(session, self.run.conversation_id)

        is_ended, next_run = await retry_transaction(self._database, end)
        if not is_ended:
            logger.warning("run was taken over before its end")
            return
        if next_run is not None:
            self._services.start(next_run)
        if compaction is not None:
            self._services.compaction_due.set()
        self.log.ttl_seconds = store.ended_log_seconds(self.run, self.log.ttl_seconds)
        type_, fields = terminal_event(outcome)
        self.log.append(type_, **fields)
        logger.info("run ended", extra={"status": outcome.status, "tokens": outcome.usage.output_tokens})
        await self._flush()
        if self.run.persistence == "none":
            await self._attempt.delete_conversation()

    async def _flush(self) -> None:
        await self._services.writer.flush(self.log, FLUSH_SECONDS)

    async def _commit(self, result: Outcome | Interruption) -> None:
        """Commit the result; one that the database refuses fails the run, or it would start again."""
        try:
            if isinstance(result, Interruption):
                await self.suspend(result)
            else:
                await self.finish(result)
        except SQLAlchemyError:
            logger.exception("the result of a run is not committed")
            outcome = self._attempt.outcome(RunStatus.FAILED, None)
            await self.finish(with_failure(outcome, InternalError()))
