"""Every public route that takes a token, called until it refuses: none may be without a limit.

    assert await find_unlimited_routes(app, issuer.token(role="owner")) == []

The app must have limits of one call a minute (`ONE_CALL`).
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI
from httpx import Response

from testkit.token_matrix import error_code, protected_routes

ONE_CALL = dict.fromkeys(("reads_per_person", "writes_per_person"), 1)
# How many calls a route may answer before it refuses one.
MAX_CALLS = 4
HEADERS = ("retry-after", "ratelimit", "ratelimit-policy")


async def find_unlimited_routes(
    app: FastAPI, token: str, renew: Callable[[], Awaitable[str]] | None = None
) -> list[str]:
    """Return the routes that do not refuse calls beyond one a minute as they should.

    `renew` gets another token of the same person, where a call has ended the session of the first.
    """
    routes = protected_routes(app)
    assert routes, "no route takes a token"
    failures: list[str] = []
    for route in routes:
        # The limit lets a call through when a minute has passed, and a call may end the session of its token.
        for _ in range(MAX_CALLS):
            answer = await route(token)
            if is_rate_limited(answer):
                break
            if renew and answer.status_code == HTTPStatus.UNAUTHORIZED:
                token = await renew()
        else:
            failures.append(f"{route.method} {route.path} {answer.status_code} {error_code(answer)}")
    return failures


def is_rate_limited(answer: Response) -> bool:
    """Return whether an answer says that there were too many calls, and when to come again."""
    return answer.status_code == HTTPStatus.TOO_MANY_REQUESTS and all(
        name in answer.headers for name in HEADERS
    )
