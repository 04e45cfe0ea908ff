"""What becomes of runs whose client disconnects before it has its answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from fastapi import Request
from servicekit.auth.tokens import Principal
from servicekit.errors import ServiceError

from chat_agent.api.start_run import StartedRun, stop_run
from chat_agent.execution.manager import RunManager
from chat_agent.models import Run
from chat_agent.settings import OnDisconnect, Protocol, Settings

DisconnectHandler = Callable[[], None]
Result = TypeVar("Result")


def disconnect_handler(
    manager: RunManager,
    caller: Principal,
    protocol: Protocol | None,
    requested: OnDisconnect | None,
    started: Collection[StartedRun],
) -> DisconnectHandler | None:
    """Return what cancels the runs of a request when its client disconnects; none where they continue.

    It cancels those that are in `started` when it is called: whoever has sent all of a run takes it out.
    """
    runs = [one.run for one in started]
    if not any(is_cancelled_on_disconnect(manager.settings, protocol, requested, run) for run in runs):
        return None
    return partial(cancel_all, manager, caller, started)


def is_cancelled_on_disconnect(
    settings: Settings, protocol: Protocol | None, requested: OnDisconnect | None, run: Run
) -> bool:
    """Return what the request says, else the setting, else whether nobody can read the rest."""
    configured = settings.on_disconnect.get(protocol) if protocol else None
    default: OnDisconnect = "continue" if can_be_read_later(run) else "cancel"
    return (requested or configured or default) == "cancel"


def can_be_read_later(run: Run) -> bool:
    """Return whether a client can read a run's answer later: in a conversation, or by its key."""
    return run.persistence == "permanent" or run.idempotency_key is not None


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
    await wait_for_disconnect(request)
    on_disconnect()


async def wait_for_disconnect(request: Request) -> None:
    """Wait until the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def result_unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
    """Return the result of work for one client only; none when that disconnects, which cancels the work."""
    task = asyncio.create_task(work)
    watch = asyncio.create_task(wait_for_disconnect(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        watch.cancel()


def cancel_all(manager: RunManager, caller: Principal, started: Collection[StartedRun]) -> None:
    """Cancel runs in the background, unless this process ends: then others continue them."""
    for one in () if manager.is_closing else started:
        manager.run_in_background(cancel(manager, caller, one.run.id))


async def cancel(manager: RunManager, caller: Principal, run_id: UUID) -> None:
    """Cancel a run unless it has ended meanwhile."""
    try:
        await stop_run(manager, caller, run_id)
    except ServiceError:  # it is over, or gone
        return
