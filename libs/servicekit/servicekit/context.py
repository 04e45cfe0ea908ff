"""The context of the current work: its request, tenant and user.

One mutable mapping a request, reached through a context variable: what a dependency binds deep inside
is then also seen by the middleware around it, which a context variable a value would not give.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_bound: ContextVar[dict[str, str] | None] = ContextVar("bound", default=None)


@contextmanager
def scope(**values: str | None) -> Iterator[None]:
    """Open a context for one request or event; what is bound inside ends with it."""
    token = _bound.set({key: value for key, value in values.items() if value is not None})
    try:
        yield
    finally:
        _bound.reset(token)


def bind(**values: str | None) -> None:
    """Bind values such as `tenant_id` or `user_id` to the current work; every log line has them."""
    current = _bound.get()
    if current is not None:
        current.update({key: value for key, value in values.items() if value is not None})


def current() -> Mapping[str, str]:
    """Return what is bound to the current work."""
    return _bound.get() or {}


def request_id() -> str | None:
    """Return the id of the request that this work belongs to, if it belongs to one."""
    return current().get("correlation_id")
