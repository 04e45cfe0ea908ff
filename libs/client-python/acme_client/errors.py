"""What the server refuses, as an exception."""

from typing import Any

import httpx

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


async def check(response: httpx.Response) -> None:
    """Raise ApiError for a response that is not successful."""
    if response.is_success:
        return
    await response.aread()
    try:
        problem = response.json()
    except ValueError:
        problem = None
    retry_after = response.headers.get("Retry-After", "")
    raise ApiError(
        response.status_code,
        problem if isinstance(problem, dict) else {},
        # It may also be a date.
        float(retry_after) if retry_after.isdecimal() else None,
    )
