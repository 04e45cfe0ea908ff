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
from chat_agent.api.dependencies import IdempotencyKey, Reader, Runs, Writer
from chat_agent.api.start_run import Prelude, Turn
from chat_agent.execution.subscribe import MayHear
from chat_agent.schemas import Answer, ChatRequest

# What a process that died has taken is free again after this.
SLOT_SECONDS = 20.0


@dataclass(frozen=True)
class Admitted:
    """A turn that was let in, what the head of its answer tells, and what is held while it is streamed."""

    turn: Turn
    headers: dict[str, str]
    lease: SlotLease
    may_hear: MayHear


@dataclass(frozen=True)
class Desk:
    """Where a caller asks for an answer, in whatever words, whole or as a stream.

    Raises RateLimited, ConcurrencyLimited, and what `chat.begin` and `chat.go_on` raise.
    """

    caller: Writer
    engine: Runs
    resources: ResourcesDep
    key: IdempotencyKey
    request: Request

    def __post_init__(self) -> None:
        """Let a body that makes no sense count as a question."""
        count_against(self.request, *self._rates())

    async def ask(self, asked: ChatRequest, prelude: Prelude = (), *, streamed: bool) -> Admitted:
        """Let a caller ask once more."""
        admission = await self._admission(streamed)
        begun = start_run.begin(self.engine, self.caller, asked, self.key, prelude)
        return await admitted(admission, begun, may_hear(self.resources, self.caller))

    async def allow(self, run_id: UUID, given: Mapping[UUID, Answer], *, streamed: bool) -> Admitted:
        """Let a caller answer what a run has asked for, and hear how it goes on."""
        admission = await self._admission(streamed)
        begun = start_run.go_on(self.engine, self.caller, run_id, given)
        return await admitted(admission, begun, may_hear(self.resources, self.caller))

    async def _admission(self, streamed: bool) -> Grant:
        limits, settings = self.resources.limits, self.engine.settings
        count_against(self.request)
        if not streamed:
            return await limits.admit(*self._rates())
        return await limits.admit(
            Rate(key(self.caller, "stream"), settings.chat_stream_rate_limit_per_minute),
            Rate(shared(self.caller, "stream"), settings.chat_tenant_stream_rate_limit_per_minute),
            Concurrency(key(self.caller, "streams"), settings.chat_stream_concurrent_limit, SLOT_SECONDS),
            Concurrency(
                shared(self.caller, "streams"), settings.chat_tenant_stream_concurrent_limit, SLOT_SECONDS
            ),
        )

    def _rates(self) -> tuple[Rate, Rate]:
        settings = self.engine.settings
        return (
            Rate(key(self.caller, "chat"), settings.chat_rate_limit_per_minute),
            Rate(shared(self.caller, "chat"), settings.chat_tenant_rate_limit_per_minute),
        )


AtDesk = Annotated[Desk, Depends(Desk)]


@dataclass(frozen=True)
class Ear:
    """Where a caller listens to what was asked before; raises RateLimited or ConcurrencyLimited."""

    caller: Reader
    engine: Runs
    resources: ResourcesDep

    @property
    def may_hear(self) -> MayHear:
        """What tells whether the caller may go on to listen."""
        return may_hear(self.resources, self.caller)

    async def listen(self) -> Grant:
        """Let a caller listen to one more."""
        settings = self.engine.settings
        return await self.resources.limits.admit(
            Rate(key(self.caller, "resume"), settings.chat_resume_rate_limit_per_minute),
            Concurrency(key(self.caller, "resumes"), settings.chat_resume_concurrent_limit, SLOT_SECONDS),
        )


Listener = Annotated[Ear, Depends(Ear)]


async def admitted(admission: Grant, begun: Awaitable[Turn], may_hear: MayHear) -> Admitted:
    """Give a turn that begins; without one, nothing is held."""
    async with admission.released_on_error():
        turn = await begun
    return Admitted(turn, {**admission.headers(), **about(turn)}, admission.lease, may_hear)


def may_hear(resources: Resources, caller: Principal) -> MayHear:
    """Give what tells whether a caller's token is still good; it asks nobody."""
    return partial(resources.verifier.is_still_valid, caller)


def about(turn: Turn) -> dict[str, str]:
    """Tell of a turn in headers: which run and conversation it is, and whether it was asked for before."""
    ids = {"Acme-Run-Id": str(turn.run.id), "Acme-Conversation-Id": str(turn.run.conversation_id)}
    return ids if turn.is_new else {**ids, REPLAYED: "true"}


def key(caller: Principal, what: str) -> str:
    """Name a person's limit."""
    return tenant_key(caller.tenant_id, what, caller.subject)


def shared(caller: Principal, what: str) -> str:
    """Name a tenant's limit."""
    return tenant_key(caller.tenant_id, what)
