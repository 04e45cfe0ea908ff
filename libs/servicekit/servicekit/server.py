"""Serves a service on its public and its internal port."""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Iterator

import uvicorn
import uvloop
from fastapi import FastAPI

from servicekit.auth.dependencies import every_route
from servicekit.settings import ServiceSettings
from servicekit.startup import resume_collection
from servicekit.workers.base import until_set

GRACE_SECONDS = 20
TICK_SECONDS = 1.0


class ServerNotListening(Exception):
    """The server has not started yet, or is about to end."""


class Server(uvicorn.Server):
    """A server that leaves signals to `serve`, because two of them share a process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop accepting requests, and end when those under way are answered."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Serve until stopped; renew the date of the answers each second, and do not poll in between."""
        while not await self.on_tick(0):
            await until_set(self._stopping, TICK_SECONDS)

    async def check(self) -> None:
        """Raise unless requests are accepted."""
        if not self.started or self.should_exit:
            raise ServerNotListening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`."""
        yield


def serve(app: FastAPI) -> None:
    """Serve the public and the internal port until stopped; exits with 3 when it cannot start."""
    settings: ServiceSettings = app.state.resources.settings
    build_routes(app, app.state.internal)
    # What was made while starting stays; the collector need not look at it, nor take it apart at the end.
    gc.freeze()
    resume_collection()
    public = Server(server_config(app, settings, settings.port))
    inside = Server(server_config(app.state.internal, settings, settings.internal_port, lifespan="off"))
    # The internal port answers before the public one listens, and after it has stopped.
    app.state.resources.checks["server"] = public.check
    uvloop.run(serve_both(public, inside, app.state.resources.stopping))
    if not public.started:
        sys.exit(3)


def build_routes(*apps: FastAPI) -> None:
    """Have FastAPI build its routes now; otherwise the first requests wait for it."""
    for app in apps:
        for _ in every_route(app.routes):
            pass


def server_config(app: FastAPI, settings: ServiceSettings, port: int, **options: str) -> uvicorn.Config:
    """Return the configuration of one server, without uvicorn's own logging."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # The gateway derives the client's address; nobody else may claim one.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,  # type: ignore[arg-type]  # `lifespan`, a literal there
    )


async def serve_both(public: Server, inside: Server, stopping: asyncio.Event) -> None:
    """Run both servers; the internal one answers for as long as the public one does."""

    def stop() -> None:
        stopping.set()
        public.stop()

    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop)
    beside = asyncio.create_task(inside.serve())
    await public.serve()
    inside.stop()
    await beside
