"""Answer methods that a path does not take: all that it takes are in `Allow` (RFC 9110 section 10.2.1)."""

from http import HTTPStatus

from fastapi import FastAPI, Request, Response

from servicekit.auth.dependencies import every_route
from servicekit.errors import problem

OPTIONS = "OPTIONS"


async def not_allowed(request: Request, _: Exception) -> Response:
    """Answer OPTIONS with the methods of the path, and any other method as not allowed."""
    headers = {"Allow": ", ".join(sorted(allowed_methods(request.app, request.scope["path"])))}
    if request.method == OPTIONS:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    status = HTTPStatus.METHOD_NOT_ALLOWED
    return problem(status, "method_not_allowed", f"{status.phrase}.", headers=headers)


def allowed_methods(app: FastAPI, path: str) -> set[str]:
    """Return the methods of all routes of a path; the framework names those of the first alone.

    HEAD is wherever GET is (see head_requests).
    """
    routes = [route for route in every_route(app.routes) if route.methods and route.path_regex.match(path)]
    methods = {OPTIONS}.union(*(route.methods or () for route in routes))
    return methods | {"HEAD"} if "GET" in methods else methods
