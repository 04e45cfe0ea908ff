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

from servicekit.settings import ServiceSettings

GRACE_SECONDS = 20


class ServerNotListening(Exception):
    """The server has not started yet, or is about to end."""


class Server(uvicorn.Server):
    """A server that leaves signals to `serve`, because two of them share a process."""

    async def check(self) -> None:
        """Raise unless requests are accepted."""
        if not self.started or self.should_exit:
            raise ServerNotListening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def serve(app: FastAPI) -> None:
    """Serve the public and the internal port until stopped; exits with 3 when it cannot start."""
    settings: ServiceSettings = app.state.resources.settings
    # What was made while starting stays; the collector need not look at it, nor take it apart at the end.
    gc.freeze()
    public = Server(server_config(app, settings, settings.port))
    inside = Server(server_config(app.state.internal, settings, settings.internal_port, lifespan="off"))
    # The internal port answers before the public one listens, and after it has stopped.
    app.state.resources.checks["server"] = public.check
    uvloop.run(serve_both(public, inside, app.state.resources.stopping))
    if not public.started:
        sys.exit(3)


def server_config(app: FastAPI, settings: ServiceSettings, port: int, **options: str) -> uvicorn.Config:
    """Set one server up; its lines go the way of all log lines."""
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
        public.should_exit = True

    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop)
    beside = asyncio.create_task(inside.serve())
    await public.serve()
    inside.should_exit = True
    await beside
