"""The sandbox as one process: `python -m sandbox.main --port 8900`."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader

from sandbox.mail import create_mail
from sandbox.model import create_model
from sandbox.pages import create_pages
from sandbox.stripe.app import create_stripe
from sandbox.tavily import create_tavily
from sandbox.vault import create_vault

TICK_SECONDS = 0.5


class QuietServer(uvicorn.Server):
    """A server that looks twice a second, not ten times, whether it is to end."""

    async def main_loop(self) -> None:
        """Serve until stopped."""
        while not await self.on_tick(0):  # noqa: ASYNC110  # signals set a flag here, no event
            await asyncio.sleep(TICK_SECONDS)


def create_sandbox(
    tokens_per_second: float = 0, data: Path | None = None, gateway: str | None = None
) -> FastAPI:
    """Build the whole: the model at /v1, mail at /resend, Vault at /vault, Stripe at /stripe, a page at /.

    The search of the web is at /tavily. With the address of Acme's gateway also the pages that links in mails
    lead to, at /app.
    """
    stripe = create_stripe(data)

    # A mounted app's lifespan is not run by itself; in Stripe's, time passes and events are delivered.
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with stripe.router.lifespan_context(stripe):
            yield

    app = FastAPI(title="Acme sandbox", openapi_url=None, lifespan=lifespan)
    page = Environment(loader=PackageLoader("sandbox"), autoescape=True).get_template("index.html").render()
    app.get("/", response_class=HTMLResponse)(lambda: page)
    app.get("/healthz")(lambda: {"status": "ok"})
    app.mount("/resend", create_mail(data))
    app.mount("/tavily", create_tavily())
    app.mount("/vault", create_vault())
    app.mount("/stripe", stripe)
    if gateway:
        app.mount("/app", create_pages(gateway))
    app.mount("/", create_model(tokens_per_second))
    return app


def main() -> None:
    """Serve the sandbox until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.main", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--tokens-per-second", type=float, default=0, help="0: as fast as possible")
    parser.add_argument("--data", type=Path, help="a folder in which mails and Stripe outlive the process")
    parser.add_argument("--gateway", help="Acme's address, for the pages that links in mails lead to")
    options = parser.parse_args()
    config = uvicorn.Config(
        create_sandbox(options.tokens_per_second, options.data, options.gateway),
        host=options.host,
        port=options.port,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    QuietServer(config).run()


if __name__ == "__main__":
    main()
