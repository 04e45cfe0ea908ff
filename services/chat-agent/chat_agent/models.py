"""The tables of the chat-agent."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from servicekit.database import metadata
from servicekit.erasure import deleted_users, tenants
from servicekit.events.outbox import inbox, outbox
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSON, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE = (RunStatus.RUNNING, RunStatus.WAITING)
UNFINISHED = (RunStatus.QUEUED, *ACTIVE)
FINISHED = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
# What the database calls the status of a row that is not there yet.
NEW = "new"
# Every step that a run may take; a trigger of the database (enforce_run_transition) refuses all others.
TRANSITIONS = (
    (NEW, RunStatus.QUEUED),
    (NEW, RunStatus.RUNNING),
    (RunStatus.QUEUED, RunStatus.RUNNING),
    (RunStatus.QUEUED, RunStatus.CANCELLED),
    # Taken over by another replica.
    (RunStatus.RUNNING, RunStatus.RUNNING),
    (RunStatus.RUNNING, RunStatus.WAITING),
    (RunStatus.RUNNING, RunStatus.COMPLETED),
    (RunStatus.RUNNING, RunStatus.FAILED),
    (RunStatus.RUNNING, RunStatus.CANCELLED),
    (RunStatus.WAITING, RunStatus.RUNNING),
)

# Models answer in the order of a schema's properties; JSONB does not keep it.
ORDERED_JSON = JSON(none_as_null=True)


class Base(DeclarativeBase):
    """The registry of this service's tables."""

    metadata = metadata()
    type_annotation_map: ClassVar = {
        datetime: TIMESTAMP(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        str: Text,
    }


class Run(Base):
    """One turn of an agent: who asked what, how far it is, and what came of it."""

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(f"status in {tuple(map(str, RunStatus))}", name="status"),
        CheckConstraint(
            f"(status in {tuple(sorted(map(str, FINISHED)))}) = (ended_at is not null)", name="ended"
        ),
        CheckConstraint("stop in ('cancel', 'interrupt', 'rollback')", name="stop"),
        CheckConstraint("persistence in ('permanent', 'temporary', 'none')", name="persistence"),
        # One at a time: two runs in one conversation would interleave what was said.
        Index(
            "uq_runs_conversation_active",
            "conversation_id",
            unique=True,
            postgresql_where=text("status in ('running', 'waiting')"),
        ),
        Index("uq_runs_idempotency_key", "tenant_id", "user_id", "idempotency_key", unique=True),
        Index("ix_runs_listing", "tenant_id", "user_id", "created_at", "id"),
        Index("ix_runs_user_id", "user_id"),
        Index("ix_runs_tenant", "tenant_id", "created_at", "id"),
        Index("ix_runs_conversation", "conversation_id", "created_at", "id"),
        Index("ix_runs_agent", "tenant_id", "agent", "created_at"),
        Index(
            "ix_runs_final_agent",
            "tenant_id",
            "final_agent",
            "created_at",
            postgresql_where=text("final_agent <> agent"),
        ),
        Index("ix_runs_lease", "lease_expires_at", postgresql_where=text("status = 'running'")),
        Index("ix_runs_queue", "conversation_id", "position", postgresql_where=text("status = 'queued'")),
        Index("ix_runs_waiting", "waiting_until", postgresql_where=text("status = 'waiting'")),
        Index("ix_runs_ended_at", "ended_at"),
        Index(
            "ix_runs_tool_calls",
            "tool_calls",
            postgresql_using="gin",
            postgresql_ops={"tool_calls": "jsonb_path_ops"},
            postgresql_where=text("tool_calls <> '[]'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    user_id: Mapped[str]
    conversation_id: Mapped[UUID]
    agent: Mapped[str]
    model: Mapped[str]
    message: Mapped[str]
    # The parts of the message, where it is not only text; images and files are `attachments`.
    content: Mapped[list[Any]] = mapped_column(server_default="[]")
    # Items that stand before the message, in a conversation that begins with this run.
    prelude: Mapped[list[Any]] = mapped_column(server_default="[]")
    # Whether the prelude is all of the history that its client has; what is stored and differs is superseded.
    replaces_history: Mapped[bool] = mapped_column(server_default="false")
    # The run whose client shows another history, in which this one's turn is not.
    superseded_by: Mapped[UUID | None]
    # What the tools of its caller gave, where the run goes on with that in place of a message.
    tool_outputs: Mapped[list[Any]] = mapped_column(server_default="[]")
    # Tells the outputs of a request from those of another, also when they are no longer stored.
    tool_outputs_digest: Mapped[str | None]
    # The agent that goes on with it, where that is another than `agent`.
    first_agent: Mapped[str | None]
    # How many items it began with: the prelude, and the message or the outputs.
    input_count: Mapped[int] = mapped_column(server_default="1")
    # What its caller set for the models: `runs.options.RunOptions`.
    options: Mapped[dict[str, Any]] = mapped_column(ORDERED_JSON, server_default="{}")
    # How long what is said is stored: `temporary` for a while, in no list; `none`: it is erased at the end.
    persistence: Mapped[str] = mapped_column(server_default="permanent")
    idempotency_key: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=RunStatus.RUNNING)
    # In the order in which the messages came; what waits in a conversation goes on in this order.
    position: Mapped[int] = mapped_column(BigInteger, Identity())
    # Who works on it, and until when nobody else may. Nobody has let go of it while there is an owner.
    owner: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    # Counts who has worked on it; the newest is the only one who may write.
    attempt: Mapped[int] = mapped_column(server_default="1")
    # How often the one who worked on it was lost, since one has handed it over.
    losses: Mapped[int] = mapped_column(server_default="0")
    # That it is to end, and how: cancel, interrupt, rollback.
    stop: Mapped[str | None]
    # The SDK's RunState while it waits for approvals, and until the first checkpoint after.
    state: Mapped[str | None]
    waiting_until: Mapped[datetime | None]
    output: Mapped[str | None]
    # Whether the output ends where the model had to stop, at a limit of tokens.
    is_truncated: Mapped[bool] = mapped_column(server_default="false")
    # The calls of the caller's tools with which it ended.
    tool_calls: Mapped[list[Any]] = mapped_column(server_default="[]")
    final_agent: Mapped[str | None]
    handoffs: Mapped[list[Any]] = mapped_column(server_default="[]")
    # The version of each agent that it may reach, from its beginning to its end.
    agent_versions: Mapped[list[Any]] = mapped_column(server_default="[]")
    # Of a dry run, until its end: what its agent is made of, which is no version of it.
    definition: Mapped[dict[str, Any] | None] = mapped_column(ORDERED_JSON)
    usage: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    # The tokens of its usage with which it ends, where an agent that took over has lowered them.
    token_limit: Mapped[int | None] = mapped_column(BigInteger)
    # Micro-USD; none where a price is not known.
    cost: Mapped[int | None] = mapped_column(BigInteger)
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    # The limit that ended the run, as billing described it.
    exceeded_quota: Mapped[dict[str, Any] | None]
    # The guardrail that ended the run, and its stage.
    guardrail: Mapped[str | None]
    guardrail_stage: Mapped[str | None]
    trace_id: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    @property
    def quota(self) -> dict[str, Any] | None:
        """Return the limit that ended the run, by its name in responses."""
        return self.exceeded_quota

    @property
    def stage(self) -> str | None:
        """Return the stage of the guardrail that ended the run, by its name in responses."""
        return self.guardrail_stage

    @property
    def superseded(self) -> bool:
        """Return whether an edit or a regeneration has superseded its turn."""
        return self.superseded_by is not None


class Approval(Base):
    """A tool call that a person has to allow, and what they said."""

    __tablename__ = "approvals"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'approved', 'rejected', 'expired')", name="status"),
        CheckConstraint("(status = 'pending') = (decided_at is null)", name="decided"),
        Index(None, "run_id", "call_id", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    call_id: Mapped[str]
    agent: Mapped[str]
    name: Mapped[str]
    arguments: Mapped[str]
    # The call within which the agent works, where it is a tool of another.
    parent_call_id: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="pending")
    reason: Mapped[str | None]
    decided_by: Mapped[str | None]
    # What the call is executed with, where the person has changed it.
    edited_arguments: Mapped[str | None]
    # Where the person has to sign in first: `schemas.SignIn`.
    sign_in: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    decided_at: Mapped[datetime | None]


class ToolCall(Base):
    """A call of a tool: recorded before it is made, and how it ended."""

    __tablename__ = "tool_calls"
    __table_args__ = (
        CheckConstraint("status in ('running', 'completed', 'failed', 'timed_out')", name="status"),
        CheckConstraint("(status = 'running') = (ended_at is null)", name="ended"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    call_id: Mapped[str] = mapped_column(primary_key=True)
    agent: Mapped[str | None]
    # The call within which the agent works, where it is a tool of another.
    parent_call_id: Mapped[str | None]
    name: Mapped[str]
    # Masked, unless the call must not be made twice: whoever takes the run over needs them as they are.
    arguments: Mapped[str]
    is_idempotent: Mapped[bool] = mapped_column(server_default="false")
    status: Mapped[str] = mapped_column(server_default="running")
    # How often it was begun, by whichever attempts of the run.
    attempt: Mapped[int] = mapped_column(server_default="1")
    # The class of the exception that it raised.
    error: Mapped[str | None]
    output_bytes: Mapped[int | None]
    duration_ms: Mapped[int | None]
    # Of a call that must not be made twice.
    output: Mapped[str | None]
    begun_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class Attachment(Base):
    """An image or a file that came with a run; items of the conversation refer to its digest."""

    __tablename__ = "attachments"
    __table_args__ = (Index(None, "sha256"),)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[bytes]


class Feedback(Base):
    """What the person of a run says of its answer, and the agent that gave it."""

    __tablename__ = "feedback"
    __table_args__ = (
        CheckConstraint("rating in ('up', 'down')", name="rating"),
        Index("ix_feedback_listing", "tenant_id", "created_at", "run_id"),
        Index("ix_feedback_agent", "tenant_id", "agent", "created_at", "run_id"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    tenant_id: Mapped[UUID]
    user_id: Mapped[str]
    agent: Mapped[str]
    # Of the agent: one in code has no number, and runs from before versions were stored have neither.
    version: Mapped[int | None]
    digest: Mapped[str | None]
    rating: Mapped[str]
    reasons: Mapped[list[Any]]
    comment: Mapped[str | None]
    correction: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


inbox.to_metadata(Base.metadata)
outbox.to_metadata(Base.metadata)
deleted_users.to_metadata(Base.metadata)
tenants.to_metadata(Base.metadata)
