"""Every public route that takes a token, called until it refuses: none may be without a limit.

    assert await unlimited(app, issuer.token(role="owner")) == []

The app must have limits of one call a minute (`ONE_CALL`).
"""

from http import HTTPStatus

from fastapi import FastAPI
from httpx import Response

from testkit.token_matrix import code_of, places

ONE_CALL = dict.fromkeys(("reads_per_person", "writes_per_person"), 1)
HEADERS = ("retry-after", "ratelimit", "ratelimit-policy")


async def unlimited(app: FastAPI, token: str) -> list[str]:
    """Return the routes that do not refuse the second call within a minute as they should."""
    everywhere = places(app)
    assert everywhere, "no route takes a token"
    found: list[str] = []
    for place in everywhere:
        await place(token)
        answer = await place(token)
        if not is_rate_limited(answer):
            found.append(f"{place.method} {place.path} {answer.status_code} {code_of(answer)}")
    return found


def is_rate_limited(answer: Response) -> bool:
    """Return whether an answer says that there were too many calls, and when to come again."""
    return answer.status_code == HTTPStatus.TOO_MANY_REQUESTS and all(
        name in answer.headers for name in HEADERS
    )
