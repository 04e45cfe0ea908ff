"""What the server refuses, as an exception."""

from typing import Any

TRANSIENT = frozenset({429, 502, 503, 504})


class ApiError(Exception):
    """The server refused a request, or failed; `code` is stable, the message is a sentence for people."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"The server answered {status}.")
        self.status = status
        self.problem = problem
        self.code: str = problem.get("code") or ""
        self.request_id: str = problem.get("request_id") or ""
        # In seconds.
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Return whether the same request may succeed a little later."""
        return self.status in TRANSIENT
