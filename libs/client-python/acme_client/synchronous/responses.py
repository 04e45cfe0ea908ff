# Written from acme_client/responses.py by scripts/synchronous_client.py: change it there.
"""Whether a response is successful."""

import httpx

from acme_client.errors import ApiError


def check(response: httpx.Response) -> None:
    """Raise ApiError for a response that is not successful."""
    if response.is_success:
        return
    response.read()
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
