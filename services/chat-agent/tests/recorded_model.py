"""A model whose requests are recorded, and fail as a test says."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import Request, Response
from sandbox.model import create_model
from testkit.live_server import serving

Call = dict[str, Any]


@contextmanager
def recording_model(
    calls: list[Call], fault: Callable[[Call], int | None] = lambda _call: None
) -> Iterator[str]:
    """Serve a model that adds each request of Responses to `calls`; `fault` returns a status to fail with."""
    model = create_model()

    @model.middleware("http")
    async def record(request: Request, call_next: Any) -> Response:
        if request.method == "POST" and request.url.path == "/v1/responses":
            calls.append(json.loads(await request.body()))
            if status := fault(calls[-1]):
                return Response(status_code=status)
        response: Response = await call_next(request)
        return response

    with serving(model) as url:
        yield url
