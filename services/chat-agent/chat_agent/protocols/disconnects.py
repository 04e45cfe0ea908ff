"""What becomes of runs whose client disconnects before it has its answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

from fastapi import Request
from servicekit.auth.tokens import Principal
from servicekit.errors import ServiceError

from chat_agent.api.start_run import StartedRun, stop_run
from chat_agent.execution.manager import RunManager
from chat_agent.models import Run
from chat_agent.protocols.errors import InvalidParameter
from chat_agent.settings import OnDisconnect, Protocol, Settings

DisconnectHandler = Callable[[], None]


def disconnect_handler(
    manager: RunManager,
    caller: Principal,
    protocol: Protocol,
    requested: OnDisconnect | None,
    started: Sequence[StartedRun],
) -> DisconnectHandler | None:
    """Return what cancels the runs of a request when its client disconnects; none where they continue."""
    runs = [one.run for one in started]
    if not is_cancelled_on_disconnect(manager.settings, protocol, requested, runs[0]):
        return None
    return partial(cancel_all, manager, caller, [run.id for run in runs])


def is_cancelled_on_disconnect(
    settings: Settings, protocol: Protocol, requested: OnDisconnect | None, run: Run
) -> bool:
    """Return what the request says, else the setting, else whether nobody can read the rest."""
    default: OnDisconnect = "continue" if can_be_read_later(run) else "cancel"
    return (requested or settings.on_disconnect.get(protocol, default)) == "cancel"


def can_be_read_later(run: Run) -> bool:
    """Return whether a client can read a run's answer later: in a conversation, or by its key."""
    return run.persistence == "permanent" or run.idempotency_key is not None


def read_on_disconnect(metadata: Mapping[str, str] | None) -> OnDisconnect | None:
    """Read what OpenAI's clients have requested; raises InvalidParameter."""
    match (metadata or {}).get("on_disconnect"):
        case None:
            return None
        case "continue":
            return "continue"
        case "cancel":
            return "cancel"
    raise InvalidParameter("metadata.on_disconnect", "`on_disconnect` is `continue` or `cancel`.")


@asynccontextmanager
async def watched(request: Request, on_disconnect: DisconnectHandler | None) -> AsyncIterator[None]:
    """Watch the connection of a request whose body is read, while its whole answer is awaited."""
    if on_disconnect is None:
        yield
        return
    watch = asyncio.create_task(call_on_disconnect(request, on_disconnect))
    try:
        yield
    finally:
        watch.cancel()


async def call_on_disconnect(request: Request, on_disconnect: DisconnectHandler) -> None:
    """Call this when the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    on_disconnect()


def cancel_all(manager: RunManager, caller: Principal, run_ids: Sequence[UUID]) -> None:
    """Cancel runs in the background, unless this process ends: then others continue them."""
    for run_id in () if manager.is_closing else run_ids:
        manager.run_in_background(cancel(manager, caller, run_id))


async def cancel(manager: RunManager, caller: Principal, run_id: UUID) -> None:
    """Cancel a run unless it has ended meanwhile."""
    try:
        await stop_run(manager, caller, run_id)
    except ServiceError:  # it is over, or gone
        return
