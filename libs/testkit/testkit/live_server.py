"""An ASGI app behind a real socket, for tests of clients that speak real HTTP."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import uvicorn
from servicekit.auth.tokens import KeySourceUnavailable
from servicekit.jwks.cache import JwksCache
from starlette.types import ASGIApp

from testkit.eventually import until

# Longer than any client keeps a connection that is not used: one that stood still must not take up again what
# the server is about to close, for a request that is not repeated.
KEEP_ALIVE_SECONDS = 600
# For clients of loopback, which speak plain HTTP: loading the system's authorities takes 20 ms of CPU each.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Server(uvicorn.Server):
    """A server in a thread; signals are the test runner's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so once the keys of tokens are there: before that no request reaches a service."""
        await super().startup(sockets)
        await fetch_keys(self.config.app)
        self.ready.set()


async def fetch_keys(app: object) -> None:
    """Wait until a service has fetched its key set, if it has one and its source answers."""
    resources = getattr(getattr(app, "state", None), "resources", None)
    if isinstance(keys := getattr(resources, "keys", None), JwksCache):
        with contextlib.suppress(KeySourceUnavailable):
            await keys.warmup()


@contextlib.contextmanager
def serving(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve an app on loopback until the block ends; returns its URL. Its lifespan runs in that loop."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        server = Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            until(lambda: server.ready.wait(1), describe=lambda: "the app did not start")
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
