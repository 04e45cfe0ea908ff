"""How often each person, and a tenant as a whole, may start runs and open streams."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import Depends, Request
from servicekit.app import Resources, ResourcesDep
from servicekit.auth.tokens import Principal
from servicekit.invalid_requests import count_against
from servicekit.rate_limits import Concurrency, Grant, Limits, Rate, tenant_key

from chat_agent.api.dependencies import Author, ManagerDep, Reader, Writer
from chat_agent.execution.manager import RunManager
from chat_agent.settings import Settings

# Slots of a process that died are free again after this.
SLOT_SECONDS = 20.0

Kind = Literal["chat", "stream", "replay"]


@dataclass(frozen=True)
class RateLimiter:
    """The limits of one caller."""

    caller: Principal
    request: Request
    limits: Limits
    settings: Settings

    def for_caller(self, caller: Principal) -> "RateLimiter":
        """Return the limiter of the end user for whom the caller acts."""
        return replace(self, caller=caller)

    @asynccontextmanager
    async def admit(self, kind: Kind) -> AsyncIterator[Grant]:
        """Yield the grant for one request, whose slots are released when the block raises.

        Raises RateLimited, ConcurrencyLimited.
        """
        count_against(self.request)
        grant = await self.limits.admit(*self.limits_of(kind))
        async with grant.released_on_error():
            yield grant

    async def admit_another(self) -> None:
        """Count another run of a request that was admitted; raises RateLimited."""
        await self.limits.admit(*self.limits_of("chat"))

    def limits_of(self, kind: Kind) -> list[Rate | Concurrency]:
        """Return the limits of one kind of request."""
        settings, person, tenant = self.settings, self._person_key, self._tenant_key
        match kind:
            case "chat":
                return [
                    Rate(person("chat"), settings.chat_rate_limit_per_minute),
                    Rate(tenant("chat"), settings.chat_tenant_rate_limit_per_minute),
                ]
            case "stream":
                per_tenant = settings.chat_tenant_stream_concurrent_limit
                return [
                    Rate(person("stream"), settings.chat_stream_rate_limit_per_minute),
                    Rate(tenant("stream"), settings.chat_tenant_stream_rate_limit_per_minute),
                    Concurrency(person("streams"), settings.chat_stream_concurrent_limit, SLOT_SECONDS),
                    Concurrency(tenant("streams"), per_tenant, SLOT_SECONDS),
                ]
            case "replay":
                return [
                    Rate(person("resume"), settings.chat_resume_rate_limit_per_minute),
                    Concurrency(person("resumes"), settings.chat_resume_concurrent_limit, SLOT_SECONDS),
                ]

    def _person_key(self, name: str) -> str:
        return tenant_key(self.caller.tenant_id, name, self.caller.user_id)

    def _tenant_key(self, name: str) -> str:
        return tenant_key(self.caller.tenant_id, name)


def chat_limiter(
    caller: Writer, request: Request, resources: ResourcesDep, manager: ManagerDep
) -> RateLimiter:
    """Return the limiter of a route that starts runs; an invalid body counts as a request to `/chat`."""
    return limiter_of(caller, request, resources, manager)


def author_limiter(
    caller: Author, request: Request, resources: ResourcesDep, manager: ManagerDep
) -> RateLimiter:
    """Return the limiter of a route on which authors start runs."""
    return limiter_of(caller, request, resources, manager)


def limiter_of(caller: Principal, request: Request, resources: Resources, manager: RunManager) -> RateLimiter:
    """Return the limiter of a request that starts runs."""
    limiter = RateLimiter(caller, request, resources.limits, manager.settings)
    count_against(request, *(one for one in limiter.limits_of("chat") if isinstance(one, Rate)))
    return limiter


def replay_limiter(
    caller: Reader, request: Request, resources: ResourcesDep, manager: ManagerDep
) -> RateLimiter:
    """Return the limiter of a route that streams a run again."""
    return RateLimiter(caller, request, resources.limits, manager.settings)


ChatLimiter = Annotated[RateLimiter, Depends(chat_limiter)]
AuthorLimiter = Annotated[RateLimiter, Depends(author_limiter)]
ReplayLimiter = Annotated[RateLimiter, Depends(replay_limiter)]
