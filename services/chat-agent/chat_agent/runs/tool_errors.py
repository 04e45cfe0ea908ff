"""Why calls of tools fail: stable codes, which rows have, with a message for people."""

from collections.abc import Mapping

from agents.exceptions import ModelBehaviorError, ToolTimeoutError
from servicekit.errors import ServiceError

from chat_agent.errors import GuardrailTriggered, GuardrailUnavailable, ToolFailed

INTERNAL_ERROR = "internal_error"
MESSAGES: Mapping[str, str] = {
    GuardrailTriggered.code(): "A guardrail does not allow the call, or what it returned.",
    GuardrailUnavailable.code(): "A guardrail could not check what the call returned.",
    INTERNAL_ERROR: "The tool failed unexpectedly. The operator's log has the reason.",
    "invalid_tool_arguments": "The arguments of the model do not match the schema of the tool.",
    "tool_access_denied": "The server of the tool refuses the credentials, or the person has not signed in.",
    "tool_changed": "The tool is not as it was confirmed. An admin has to look at it and confirm it.",
    "tool_failed": "The tool could not do this. Its output in the conversation says why.",
    "tool_server_unavailable": "The server of the tool does not answer as it should. Try again later.",
    "tool_timed_out": "The tool did not finish in time.",
}


def tool_error_code(error: BaseException) -> str:
    """Return the code for what a call of a tool has raised."""
    match error:
        case ToolFailed():
            return error.tool_error
        case ToolTimeoutError():
            return "tool_timed_out"
        case ModelBehaviorError():
            return "invalid_tool_arguments"
        case GuardrailTriggered() | GuardrailUnavailable():
            return error.code()
        case ServiceError():
            return "tool_failed"
    return INTERNAL_ERROR
