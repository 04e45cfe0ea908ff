"""Publishes that another model answers in place of one that does not."""

import logging
from collections.abc import Callable
from contextvars import ContextVar

from prometheus_client import Counter
from servicekit.errors import ServiceError

logger = logging.getLogger(__name__)

FALLBACKS = Counter("chat_model_fallbacks_total", "Calls of a fallback.", ["model", "fallback", "code"])
# What the run of the current task does then: the model that failed, the one that is called now, and why.
ON_FALLBACK: ContextVar[Callable[[str, str, str], None] | None] = ContextVar("ON_FALLBACK", default=None)


def record(model: str, fallback: str, failure: ServiceError) -> None:
    """Log, count and publish that a fallback is called."""
    code = failure.code()
    FALLBACKS.labels(model, fallback, code).inc()
    logger.warning("model fell back", extra={"model": model, "fallback": fallback, "code": code})
    if (publish := ON_FALLBACK.get()) is not None:
        publish(model, fallback, code)
