"""Logs and counts failures of model providers and of tools; never what was sent or answered."""

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from agents.exceptions import ModelBehaviorError, ToolTimeoutError
from agents.tool import default_tool_timeout_error_message
from prometheus_client import Counter
from servicekit.errors import ServiceError

from chat_agent.errors import ModelAuthenticationFailed, ToolFailed
from chat_agent.model.failures import LIMIT_ERRORS, causes, from_model_error
from chat_agent.provider_keys.errors import ProviderKeyRefused
from chat_agent.runs.tool_errors import tool_error_code

logger = logging.getLogger(__name__)

MODEL_FAILURES = Counter("chat_model_failures_total", "Failed calls of a model.", ["host", "code"])
TOOL_FAILURES = Counter("chat_tool_failures_total", "Failed calls of a tool.", ["tool", "code"])
# A provider's error code is a word such as `insufficient_quota`; a sentence may quote the request.
ERROR_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
TOOL_ERROR = "An error occurred while running the tool."


@contextmanager
def named_failures(
    *, model: str, host: str, attempt: int, has_begun: bool, is_own_key: bool = False
) -> Iterator[None]:
    """Raise what goes wrong in a call of a model as a ServiceError, logged and counted.

    `has_begun` is whether the first word was said before, `is_own_key` whether it is called with the tenant's
    own key. What a limit of ours refuses is not counted.
    """
    try:
        yield
    except Exception as error:  # whatever it is, clients get a stable code
        failure = from_model_error(error)
        if is_own_key and isinstance(failure, ModelAuthenticationFailed):
            failure = ProviderKeyRefused()
        if not isinstance(failure, LIMIT_ERRORS):
            MODEL_FAILURES.labels(host, failure.code()).inc()
            place = {"model": model, "host": host, "attempt": attempt, "has_begun": has_begun}
            fields = {**place, "code": failure.code(), **error_fields(error)}
            logger.warning("model call failed", extra=fields)
        if failure is error:
            raise
        raise failure from error


def tool_failed(tool: str, error: Exception, counted_as: str) -> str:
    """Log a call of a tool that raised, and count it under a name; return what the model reads."""
    code = tool_error_code(error)
    TOOL_FAILURES.labels(counted_as, code).inc()
    fields = {"tool": tool, "code": code, **error_fields(error), "traceback": traceback_of(error)}
    logger.warning("tool call failed", extra=fields)
    match error:
        case ToolTimeoutError():
            return default_tool_timeout_error_message(tool_name=tool, timeout_seconds=error.timeout_seconds)
        case ToolFailed():
            return str(error)
        case ModelBehaviorError():
            return f"{TOOL_ERROR} {error}"
        case ServiceError():
            return f"{TOOL_ERROR} {error.detail}"
    # Its text may quote what the tool was called with, or a secret of its own; the log has its class.
    return TOOL_ERROR


def traceback_of(error: BaseException) -> str:
    """Return where an error was raised, and its causes; the texts of errors may quote what was said."""
    parts = [
        f"{type(cause).__name__}\n{''.join(traceback.format_tb(cause.__traceback__))}"
        for cause in causes(error)
    ]
    return "raised from\n".join(parts)


def error_fields(error: BaseException) -> dict[str, Any]:
    """Return the types of an error and of its causes, with the status, host and code that they carry."""
    chain = list(causes(error))
    fields = {
        "error": type(error).__name__,
        "causes": [type(cause).__name__ for cause in chain[1:]],
        "status": next(filter(None, map(_status, chain)), None),
        "reason": next(filter(None, map(_reason, chain)), None),
        "request": next((id_ for one in chain if (id_ := getattr(one, "request_id", None))), None),
    }
    host = next(filter(None, map(_host, chain)), None)
    return {name: value for name, value in {**fields, "peer": host}.items() if value}


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a response that an error was raised for (OpenAI, httpx, aiohttp)."""
    for holder in (error, getattr(error, "response", None)):
        for name in ("status_code", "status"):
            if isinstance(status := getattr(holder, name, None), int) and not isinstance(error, ServiceError):
                return status
    return None


def _host(error: BaseException) -> str | None:
    """Return the host of the request that an error was raised for (OpenAI, httpx, aiohttp)."""
    for url in _urls(error):
        with suppress(ValueError):
            if host := urlsplit(url).hostname:
                return host
    return None


def _urls(error: BaseException) -> Iterator[str]:
    for name in ("request", "request_info"):
        with suppress(RuntimeError):  # httpx raises it where there is no request
            yield str(getattr(getattr(error, name, None), "url", ""))
    yield f"//{getattr(error, 'host', '')}"


def _reason(error: BaseException) -> str | None:
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and ERROR_CODE.fullmatch(code) else None
