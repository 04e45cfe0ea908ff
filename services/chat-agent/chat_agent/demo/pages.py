"""The pages of a stack in development: a chat at `/`, and at `/docs` a list of the services' documents.

They are static and load nothing from elsewhere; docs/howto/frontend.md explains the chat's code.
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from servicekit.auth.dependencies import public

STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False, dependencies=[public])
files = StaticFiles(directory=STATIC)


@router.get("/")
async def show_chat() -> FileResponse:
    """Return the page with the chat."""
    return FileResponse(STATIC / "index.html", headers=HEADERS)


@router.get("/docs")
async def list_documents() -> FileResponse:
    """Return the page that lists the services' documents."""
    return FileResponse(STATIC / "documents.html", headers=HEADERS)


@router.get("/demo/{name}")
async def load_file(name: str, request: Request) -> Response:
    """Return a script or the stylesheet of the pages."""
    return await files.get_response(name, request.scope)
