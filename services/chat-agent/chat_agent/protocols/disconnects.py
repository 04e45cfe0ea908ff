"""What becomes of a run whose client disconnects before its stream has ended."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID

from servicekit.auth.tokens import Principal
from servicekit.errors import ServiceError

from chat_agent.api.start_run import stop_run
from chat_agent.execution.manager import RunManager
from chat_agent.protocols.errors import InvalidParameter
from chat_agent.settings import OnDisconnect, Protocol, Settings


def is_cancelled_on_disconnect(
    settings: Settings, protocol: Protocol, requested: OnDisconnect | None
) -> bool:
    """Return whether a disconnect cancels the run: as the request says, else as the setting does."""
    return (requested or settings.on_disconnect.get(protocol, "continue")) == "cancel"


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


async def cancel_on_disconnect(
    manager: RunManager, caller: Principal, run_ids: Sequence[UUID], frames: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Pass a stream on, and cancel its runs when it is closed before its end, unless the process ends."""
    try:
        async for frame in frames:
            yield frame
    except (asyncio.CancelledError, GeneratorExit):
        for run_id in () if manager.is_closing else run_ids:
            manager.run_in_background(cancel(manager, caller, run_id))
        raise


async def cancel(manager: RunManager, caller: Principal, run_id: UUID) -> None:
    """Cancel a run unless it has ended meanwhile."""
    try:
        await stop_run(manager, caller, run_id)
    except ServiceError:  # it is over, or gone
        return
