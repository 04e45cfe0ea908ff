"""Whether a response is successful."""

import httpx

from acme_client.errors import ApiError


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
