"""The page that shows a service's OpenAPI document, in development; it loads nothing from elsewhere."""

from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from servicekit.auth.dependencies import public

ASSETS_URL = "/docs/assets"
ASSETS = Path(fastapi_offline.__file__).parent / "static"


def install(app: FastAPI, name: str) -> None:
    """Serve the page `/docs/<service>`, and what it loads."""
    page = get_swagger_ui_html(
        openapi_url=f"/openapi/{name}.json",
        title=app.title,
        swagger_js_url=f"{ASSETS_URL}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS_URL}/swagger-ui.css",
        swagger_favicon_url=f"{ASSETS_URL}/favicon.png",
    )

    @app.get(f"/docs/{name}", include_in_schema=False, dependencies=[public])
    async def show_document() -> HTMLResponse:
        return page

    # Not mounted: what is mounted answers by itself, without problem documents.
    files = StaticFiles(directory=ASSETS)

    @app.get(f"{ASSETS_URL}/{{name}}", include_in_schema=False, dependencies=[public])
    async def load_asset(name: str, request: Request) -> Response:
        return await files.get_response(name, request.scope)
