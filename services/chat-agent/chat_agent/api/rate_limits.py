"""Who may ask how often, and listen to how many answers at once: each person, and a tenant as a whole."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from servicekit.app import Resources, ResourcesDep
from servicekit.auth.tokens import Principal
from servicekit.idempotency import REPLAYED
from servicekit.invalid_requests import count_against
from servicekit.rate_limits import Concurrency, Grant, Rate, SlotLease, tenant_key

from chat_agent.api import start_run
from chat_agent.api.dependencies import IdempotencyKey, ManagerDep, Reader, Writer
from chat_agent.api.start_run import History, StartedRun
from chat_agent.execution.subscribe import IsAuthorized
from chat_agent.schemas import Answer, ChatRequest

# What a process that died has taken is free again after this.
SLOT_SECONDS = 20.0


@dataclass(frozen=True)
class Admitted:
    """A turn that was let in, what the head of its answer tells, and what is held while it is streamed."""

    turn: StartedRun
    headers: dict[str, str]
    lease: SlotLease
    is_authorized: IsAuthorized


@dataclass(frozen=True)
class ChatLimiter:
    """Where a caller asks for an answer, in whatever words, whole or as a stream.

    Raises RateLimited, ConcurrencyLimited, and what `chat.begin` and `chat.go_on` raise.
    """

    caller: Writer
    manager: ManagerDep
    resources: ResourcesDep
    key: IdempotencyKey
    request: Request

    def __post_init__(self) -> None:
        """Let a body that makes no sense count as a question."""
        count_against(self.request, *self._rates())

    async def start(self, request: ChatRequest, prelude: History = (), *, streamed: bool) -> Admitted:
        """Let a caller ask once more."""
        admission = await self._admit(streamed)
        starting = start_run.start_run(self.manager, self.caller, request, self.key, prelude)
        return await admit_run(admission, starting, authorization(self.resources, self.caller))

    async def answer_approvals(
        self, run_id: UUID, decisions: Mapping[UUID, Answer], *, streamed: bool
    ) -> Admitted:
        """Let a caller answer what a run has asked for, and hear how it goes on."""
        admission = await self._admit(streamed)
        resuming = start_run.answer_approvals(self.manager, self.caller, run_id, decisions)
        return await admit_run(admission, resuming, authorization(self.resources, self.caller))

    async def _admit(self, streamed: bool) -> Grant:
        limits, settings = self.resources.limits, self.manager.settings
        count_against(self.request)
        if not streamed:
            return await limits.admit(*self._rates())
        return await limits.admit(
            Rate(user_limit_key(self.caller, "stream"), settings.chat_stream_rate_limit_per_minute),
            Rate(tenant_limit_key(self.caller, "stream"), settings.chat_tenant_stream_rate_limit_per_minute),
            Concurrency(
                user_limit_key(self.caller, "streams"), settings.chat_stream_concurrent_limit, SLOT_SECONDS
            ),
            Concurrency(
                tenant_limit_key(self.caller, "streams"),
                settings.chat_tenant_stream_concurrent_limit,
                SLOT_SECONDS,
            ),
        )

    def _rates(self) -> tuple[Rate, Rate]:
        settings = self.manager.settings
        return (
            Rate(user_limit_key(self.caller, "chat"), settings.chat_rate_limit_per_minute),
            Rate(tenant_limit_key(self.caller, "chat"), settings.chat_tenant_rate_limit_per_minute),
        )


ChatLimiterDep = Annotated[ChatLimiter, Depends(ChatLimiter)]


@dataclass(frozen=True)
class StreamLimiter:
    """Where a caller listens to what was asked before; raises RateLimited or ConcurrencyLimited."""

    caller: Reader
    manager: ManagerDep
    resources: ResourcesDep

    @property
    def is_authorized(self) -> IsAuthorized:
        """What tells whether the caller may go on to listen."""
        return authorization(self.resources, self.caller)

    async def admit(self) -> Grant:
        """Let a caller listen to one more."""
        settings = self.manager.settings
        return await self.resources.limits.admit(
            Rate(user_limit_key(self.caller, "resume"), settings.chat_resume_rate_limit_per_minute),
            Concurrency(
                user_limit_key(self.caller, "resumes"), settings.chat_resume_concurrent_limit, SLOT_SECONDS
            ),
        )


StreamLimiterDep = Annotated[StreamLimiter, Depends(StreamLimiter)]


async def admit_run(
    admission: Grant, starting: Awaitable[StartedRun], is_authorized: IsAuthorized
) -> Admitted:
    """Give a turn that begins; without one, nothing is held."""
    async with admission.released_on_error():
        turn = await starting
    return Admitted(turn, {**admission.headers(), **run_headers(turn)}, admission.lease, is_authorized)


def authorization(resources: Resources, caller: Principal) -> IsAuthorized:
    """Give what tells whether a caller's token is still good; it asks nobody."""
    return partial(resources.verifier.is_still_valid, caller)


def run_headers(turn: StartedRun) -> dict[str, str]:
    """Tell of a turn in headers: which run and conversation it is, and whether it was asked for before."""
    ids = {"Acme-Run-Id": str(turn.run.id), "Acme-Conversation-Id": str(turn.run.conversation_id)}
    return ids if turn.is_new else {**ids, REPLAYED: "true"}


def user_limit_key(caller: Principal, what: str) -> str:
    """Name a person's limit."""
    return tenant_key(caller.tenant_id, what, caller.subject)


def tenant_limit_key(caller: Principal, what: str) -> str:
    """Name a tenant's limit."""
    return tenant_key(caller.tenant_id, what)
