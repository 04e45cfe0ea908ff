"""What OpenAI's clients say of a run whose client disconnects."""

from collections.abc import Mapping

from chat_agent.protocols.errors import InvalidParameter
from chat_agent.settings import OnDisconnect


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
